//! Step 4, act: what is about to be done is recorded, then done, and told.
use super::error::IdentityError;
use super::visit::{End, Visit};
use super::{outputs, report, store};
use crate::arm::{ArmError, Written, chain};
use crate::controller::context::Context;
use crate::fail_point::{self, IdentityPoint};
use lanyard_domain::Own;
use lanyard_domain::identity::{
    AnswerToPut, Case, Creating, Fate, Known, MARK, Note, Record, Shown, Step, Tags, answered, permit,
};
use lanyard_domain::plan::Removals;
use std::time::{Duration, Instant};

/// Carries a step out. None: look again.
pub async fn act(
    context: &Context,
    visit: &mut Visit,
    step: Step,
    case: &Case<'_>,
) -> Result<Option<End>, IdentityError> {
    match step {
        Step::Create => {
            create(context, visit, case).await?;
            Ok(None)
        }
        Step::Adopt(record) => {
            let principal_id = record.principal_id.clone().unwrap_or_default();
            store::write(context, visit, &record).await?;
            visit.notes.push(Note::Adopted { principal_id });
            report::audit(visit, &report::Audit::of("adopt", "Succeeded"));
            Ok(None)
        }
        Step::Tag { tags, announced, ours } => {
            let with = |names| Record { tags: names, ..case.record.clone() };
            tag(context, visit, &tags, &with(announced), &with(ours)).await?;
            Ok(None)
        }
        Step::Announce(record) | Step::Withdraw(record) => {
            store::write(context, visit, &record).await?;
            Ok(None)
        }
        Step::Settled(told) => {
            visit.outputs_trouble = outputs::write(context, visit).await?;
            super::visit::settle(context, visit).await?;
            Ok(Some(End::Settled(told)))
        }
        Step::Exists => {
            super::visit::settle(context, visit).await?;
            Ok(Some(End::Exists))
        }
        Step::InUse => {
            super::visit::settle(context, visit).await?;
            Ok(Some(End::InUse))
        }
        Step::Await => Ok(Some(End::Awaited)),
        Step::Delete => {
            delete(context, visit, case).await?;
            leave(context, visit, false).await
        }
        Step::LetGo { stays } => leave(context, visit, stays).await,
    }
}

/// The record goes first: a finalizer that is still there is found, a record without an object would have to be proven
/// to be one.
async fn leave(context: &Context, visit: &mut Visit, stays: bool) -> Result<Option<End>, IdentityError> {
    if stays && visit.record.as_ref().is_some_and(|record| record.origin.is_some()) {
        let note = format!(
            "{} is gone; the identity {} stays in Azure, and is nobody's here",
            visit.owner_name(),
            visit.identity.name()
        );
        // Once the record is gone only an Event names it.
        report::tell(context, visit, ("IdentityRetained", note, false)).await;
    }
    fail_point::reached_by_identity(IdentityPoint::BeforeRecordGoes, &visit.identity).await;
    store::remove(context, visit).await?;
    fail_point::reached_by_identity(IdentityPoint::AfterRecordWent, &visit.identity).await;
    Ok(Some(End::Gone))
}

fn may_write(context: &Context) -> Result<(), IdentityError> {
    if context.may_patch() { Ok(()) } else { Err(IdentityError::LeaseNotRenewed) }
}

async fn create(context: &Context, visit: &mut Visit, case: &Case<'_>) -> Result<(), IdentityError> {
    let Fate::Stays(wish) = &case.fate else { return Err(IdentityError::TooManyRounds) };
    let arm = context.arm.at(visit.urgency);
    let location = match &wish.location {
        Some(location) => location.clone(),
        None => arm.group_location(&visit.identity).await?.ok_or(IdentityError::NoLocation)?,
    };
    report::finalizer(context, visit).await;
    // Two attempts of one creation bear one mark: whichever arrives is ours.
    let earlier = case.record.creating.clone();
    let creating = earlier.clone().unwrap_or_else(|| Creating { mark: uuid::Uuid::new_v4().to_string() });
    let tags = wish.tags.clone().with(MARK, &creating.mark);
    let announced = Record { creating: Some(creating), ..case.record.clone() };
    fail_point::reached_by_identity(IdentityPoint::BeforePutIntent, &visit.identity).await;
    store::write(context, visit, &announced).await?;
    fail_point::reached_by_identity(IdentityPoint::AfterPutIntent, &visit.identity).await;
    may_write(context)?;
    let (request_id, began) = (uuid::Uuid::new_v4().to_string(), Instant::now());
    let answer = arm.put_identity(&visit.identity, &location, &tags, &request_id).await;
    fail_point::reached_by_identity(IdentityPoint::PutAnswered, &visit.identity).await;
    let audit =
        report::Audit { request_id: Some(request_id), took: began.elapsed(), ..report::Audit::of("create", "") };
    report::audit(visit, &audit.ended(answer.as_ref().map(|written| written.correlation_id.clone())));
    match answer {
        Ok(Written { answer: (was, known), .. }) => {
            visit.memory.unanswered = None;
            visit.memory.put = Some(context.now());
            let record = answered(&announced, was, &known, wish);
            heard(context, visit, &known);
            note_creation(visit, was, &known);
            visit.known = Some(known);
            store::write(context, visit, &record).await
        }
        Err(error) => {
            if error.refused() && earlier.is_none() {
                let void = Record { creating: None, ..announced };
                store::write(context, visit, &void).await?;
            } else if !error.refused() {
                visit.memory.unanswered = Some(context.now());
            }
            Err(error.into())
        }
    }
}

fn note_creation(visit: &mut Visit, was: AnswerToPut, known: &Known) {
    let name = visit.identity.name().to_owned();
    let told = match was {
        AnswerToPut::Made => {
            ("IdentityCreated", format!("created {name}; its principal is {}", known.principal_id), false)
        }
        AnswerToPut::WasThere => (
            "IdentityWasThere",
            format!(
                "{name} was created by somebody else in the very moment in which it was to be created here: it is not \
                 Lanyard's, and its tags were replaced"
            ),
            true,
        ),
    };
    visit.told.push(told);
}

/// What the identity said of itself serves those, too, who look for dead entries.
fn heard(context: &Context, visit: &Visit, known: &Known) {
    context.identities.learn(&visit.identity, &Own::There(known.principal_id.clone()), context.now());
}

async fn tag(
    context: &Context,
    visit: &mut Visit,
    tags: &Tags,
    before: &Record,
    after: &Record,
) -> Result<(), IdentityError> {
    store::write(context, visit, before).await?;
    may_write(context)?;
    let (request_id, began) = (uuid::Uuid::new_v4().to_string(), Instant::now());
    let answer = context.arm.at(visit.urgency).tag_identity(&visit.identity, tags, &request_id).await;
    let audit = report::Audit {
        request_id: Some(request_id),
        took: began.elapsed(),
        tags: Some(tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")),
        ..report::Audit::of("tag", "")
    };
    report::audit(visit, &audit.ended(answer.as_ref().map(|written| written.correlation_id.clone())));
    let written = answer?;
    visit.known = Some(written.answer);
    visit.told.push(("IdentityTagged", format!("set the tags of {}", visit.identity.name()), false));
    store::write(context, visit, after).await
}

/// Irreversible: within the budget for removals, and past a second opinion.
async fn delete(context: &Context, visit: &mut Visit, case: &Case<'_>) -> Result<(), IdentityError> {
    let permit = permit(case).map_err(IdentityError::Audit)?;
    if context.brake.allowance() == Removals::Paused {
        return Err(IdentityError::Paused);
    }
    if !context.brake.spend(1) {
        return Err(IdentityError::Paced);
    }
    // Announced before, and with all that is known by now: the record is what the next process goes by.
    store::write(context, visit, case.record).await.inspect_err(|_| context.brake.refund(1))?;
    fail_point::reached_by_identity(IdentityPoint::BeforeDelete, &visit.identity).await;
    may_write(context).inspect_err(|_| context.brake.refund(1))?;
    let (request_id, began) = (uuid::Uuid::new_v4().to_string(), Instant::now());
    let answer = context.arm.at(visit.urgency).delete_identity(permit, &request_id).await;
    fail_point::reached_by_identity(IdentityPoint::DeleteAnswered, &visit.identity).await;
    let audit =
        report::Audit { request_id: Some(request_id), took: began.elapsed(), ..report::Audit::of("delete", "") };
    report::audit(visit, &audit.ended(answer.as_ref().map(|written| written.correlation_id.clone())));
    if let Err(error) = answer {
        if error.refused() {
            context.brake.refund(1);
        }
        return Err(error.into());
    }
    let Shown::There(known) = case.shown else { return Ok(()) };
    context.identities.learn(&visit.identity, &Own::Missing, context.now());
    let note = format!("deleted {}; its principal {} is gone for good", visit.identity.name(), known.principal_id);
    report::tell(context, visit, ("IdentityDeleted", note, false)).await;
    Ok(())
}

impl report::Audit {
    fn ended(self, answer: Result<Option<String>, &ArmError>) -> Self {
        match answer {
            Ok(correlation_id) => Self { correlation_id, outcome: "Succeeded", ..self },
            Err(error) => Self {
                correlation_id: error.correlation_id().map(Into::into),
                outcome: if error.refused() { "Refused" } else { "Unknown" },
                error: Some(chain(error)),
                ..self
            },
        }
    }

    pub fn of(action: &'static str, outcome: &'static str) -> Self {
        Self { action, outcome, request_id: None, correlation_id: None, took: Duration::ZERO, tags: None, error: None }
    }
}
