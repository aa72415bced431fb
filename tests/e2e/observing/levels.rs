//! What is logged is changed while the process runs, by whoever reaches its machine, and by nobody else.

use anyhow::{Result, ensure};
use arm_simulator::Settings;

use super::{doors, get, lines, says, told};
use crate::harness::{Own, Stage, assignment};

struct Said {
    status: u16,
    text: String,
}

async fn ask(method: &str, url: &str, body: &str, headers: &[(&str, &str)]) -> Result<Said> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut request = http.request(method.parse()?, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await?;
    Ok(Said { status: answer.status().as_u16(), text: answer.text().await? })
}

/// Lines about requests to ARM: debug lines that come with every visit.
fn requests(stage: &Stage<'_>) -> usize {
    lines(&stage.log).iter().filter(|line| says(line, "asked ARM")).count()
}

#[tokio::test]
async fn the_level_is_changed_while_it_runs_and_goes_back_by_itself() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&["--log-level=info"])?;
    let stage = own.stage()?;
    let (_, admin) = doors(&stage.log).await?;
    let level = format!("{admin}/loglevel");
    let served = async |name: &str| {
        let vm = stage.vm(name).create();
        stage.declare(assignment(name).on(&vm).present("shop-db")).await?;
        stage.until_ready(name).await
    };
    served("first").await?;
    ensure!(requests(&stage) == 0 && get(&level).await? == (200, "info\n".into()));

    let said = ask("PUT", &level, "lanyard=debug\n", &[]).await?;
    ensure!(said.status == 200 && said.text == "lanyard=debug for 3600 s\n", "{}: {}", said.status, said.text);
    served("second").await?;
    stage.until("debug lines", async || Ok(requests(&stage) > 0)).await?;
    ensure!(get(&level).await? == (200, "lanyard=debug\n".into()));

    // What is no filter changes nothing, and says what one looks like.
    for (wrong, query) in [("lanyard=[", ""), ("", ""), ("info", "?for=soon"), ("info", "?for=9999h")] {
        let said = ask("PUT", &format!("{level}{query}"), wrong, &[]).await?;
        ensure!(said.status == 400 && said.text.contains("write") || said.text.contains("at most"), "{}", said.text);
    }
    ensure!(get(&level).await? == (200, "lanyard=debug\n".into()));

    ensure!(ask("DELETE", &level, "", &[]).await?.text == "info\n");
    let before = requests(&stage);
    served("third").await?;
    ensure!(requests(&stage) == before, "debug lines at info");

    // The quietest still lets the audit stream through, and is over by itself.
    ensure!(ask("PUT", &format!("{level}?for=1s"), "error", &[]).await?.status == 200);
    stage.until("it to be over", async || Ok(get(&level).await? == (200, "info\n".into()))).await?;
    served("fourth").await?;
    ensure!(told(&stage.log, "identities patched") == 4 && told(&stage.log, "what is logged is changed") == 2);
    Ok(())
}

#[tokio::test]
async fn nobody_changes_it_from_elsewhere() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&["--log-level=info"])?;
    let stage = own.stage()?;
    let (open, admin) = doors(&stage.log).await?;
    let level = format!("{admin}/loglevel");
    for method in ["PUT", "POST", "DELETE", "GET"] {
        let said = ask(method, &format!("{open}/loglevel"), "trace", &[]).await?;
        ensure!(said.status == 404, "{method} where metrics are: {}", said.status);
    }
    // A page in somebody's browser; a name that leads to loopback.
    for header in [("origin", "http://evil.example"), ("host", "evil.example:8081"), ("host", "evil.example")] {
        let said = ask("PUT", &level, "trace", &[header]).await?;
        ensure!(said.status == 403, "{header:?}: {}", said.status);
    }
    let long = "x".repeat(10_000);
    ensure!(ask("PUT", &level, &long, &[]).await?.status == 413);
    ensure!(get(&level).await? == (200, "info\n".into()));
    Ok(())
}
