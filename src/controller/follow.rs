//! An operation that a PATCH began is polled to its end. Meanwhile it holds neither a slot nor a place in the order.
use super::context::Context;
use super::error::VisitError;
use super::report;
use super::visit::Visit;
use crate::arm::{ArmError, Operation, Progress};
use crate::fail_point::{self, Point};
use crate::health::{in_line, may_take};
use lanyard_domain::ended::{Look, Sign};
use lanyard_domain::pace::Class;
use lanyard_domain::poll;
use std::time::Duration;
use tokio::time::Instant;

/// `Reconciling` is written only for an operation that lasts longer: most take less, and the write would be one more
/// than a change needs. Until then the status is plainly that of an older generation.
const WORTH_TELLING: Duration = Duration::from_secs(8);

/// After that an operation is left to be judged by the machine itself: later changes of the target must be looked at.
const LONGEST_FOLLOWED: Duration = Duration::from_secs(15 * 60);

/// Polls that fail in a row before the operation is left to be judged by the machine itself.
const POLLS_THAT_MAY_FAIL: u32 = 8;

/// Polls until the operation ends. The slot is given back meanwhile: a slow operation delays no other target.
///
/// `sign`: how the end will show on the machine, if it will.
pub async fn follow(
    context: &Context,
    visit: &mut Visit,
    operation: &Operation,
    sign: Option<Sign>,
) -> Result<Progress, VisitError> {
    (visit.slot, visit.place) = (None, None);
    context.queue.parked(&visit.target);
    let end = until_it_ends(context, visit, operation, sign).await?;
    // Many operations may end together, and what they read next may hang.
    visit.place = Some(in_line(context.resumed.acquire(visit.target.subscription())).await);
    visit.slot = {
        let _stands = context.line_after.stand();
        in_line(context.slots_after.clone().acquire_owned()).await.ok()
    };
    // Not before: who stands in line asks nothing of its subscription, and keeps nobody there from beginning.
    context.queue.resumed(&visit.target);
    Ok(end)
}

async fn until_it_ends(
    context: &Context,
    visit: &mut Visit,
    operation: &Operation,
    mut sign: Option<Sign>,
) -> Result<Progress, VisitError> {
    let accepted = Instant::now();
    let mut asked = operation.first_pause();
    let mut failed = 0;
    let mut told = false;
    loop {
        let scarce = context.arm.is_scarce(visit.target.subscription());
        let next = Instant::now() + poll::pause(accepted.elapsed(), asked, scarce);
        if !told && next > accepted + WORTH_TELLING {
            sleep_or_stop(context, accepted + WORTH_TELLING).await?;
            // Where all are busy with changes a word about the wait is not worth a write that they need.
            if let Ok(_slot) = context.slots_after.try_acquire() {
                Box::pin(report::under_way(context, visit)).await;
                told = true;
            }
        }
        sleep_or_stop(context, next).await?;
        fail_point::reached(Point::BeforePoll, &visit.target).await;
        sign = sign.filter(|_| accepted.elapsed() < poll::READ_UNTIL);
        // It saves a request, and others wait for it.
        if let Some(by) = sign.as_ref().filter(|_| context.arm.is_scarce(visit.target.subscription())) {
            match Box::pin(look(context, visit, by)).await {
                Look::Ended(live) => {
                    visit.read_back = Some(live);
                    return Ok(Progress::Succeeded);
                }
                Look::Running => continue,
                Look::Unclear => sign = None,
            }
        }
        asked = match Box::pin(context.arm.poll(operation)).await {
            Ok(Progress::Running { .. }) if accepted.elapsed() > LONGEST_FOLLOWED => return Ok(Progress::Lost),
            Ok(Progress::Running { retry_after }) => {
                failed = 0;
                retry_after
            }
            Ok(end) => return Ok(end),
            Err(error) => {
                failed += 1;
                after_failure(error, failed)?
            }
        };
    }
}

/// What the machine shows of it. A read that fails leaves it to the operation.
async fn look(context: &Context, visit: &Visit, sign: &Sign) -> Look {
    let before = visit.live.as_ref().and_then(|live| live.etag.as_ref());
    match context.arm.machine(&visit.target).await {
        Ok(live) => sign.seen(live, before),
        Err(_) => Look::Unclear,
    }
}

/// What a poll that failed asks for, if another may go well.
fn after_failure(error: ArmError, failed: u32) -> Result<Option<Duration>, VisitError> {
    if matches!(error, ArmError::ForeignHost { .. }) || failed > POLLS_THAT_MAY_FAIL {
        return Err(error.into());
    }
    match error.class() {
        Class::Throttled(pause) => Ok(Some(pause)),
        Class::Replan | Class::Transient | Class::Refused | Class::Waiting | Class::Defect => Ok(None),
    }
}

async fn sleep_or_stop(context: &Context, until: Instant) -> Result<(), VisitError> {
    may_take(until.saturating_duration_since(Instant::now()));
    tokio::select! {
        () = context.stop.cancelled() => Err(VisitError::Stopping),
        () = tokio::time::sleep_until(until) => Ok(()),
    }
}
