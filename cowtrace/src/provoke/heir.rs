//! The holder exits: a process pins and forks; it ends, and its child goes on with the ring.
//!
//! Surprise: three processes. We only wait for what the child says, since the
//! holder's end must not be ours.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};

use anyhow::{Context as _, anyhow, bail};

use super::{Args, Case, listen, outcome, rendezvous, scene::Scene, skipped};
use crate::sys;

/// Runs the case in two processes, one after the other; the second one's lines.
pub(super) fn run(args: &Args, case: Case) -> anyhow::Result<String> {
    let (mut told, tell) = io::pipe().context("cannot make a pipe")?;
    let holder = || match Scene::pin(args, case) {
        Ok(scene) => hand_over(args, scene, tell),
        Err(error) => report(tell, Err(error)),
    };
    let _listening = listen(args)?;
    let (holder, ()) = sys::fork_child((), holder).context("cannot fork the holder")?;
    let mut text = String::new();
    told.read_to_string(&mut text).context("cannot hear of the outcome")?;
    let code = holder.wait().context("cannot wait for the holder")?;
    understand(&text).with_context(|| format!("the holder ended with {code}"))
}

/// The holder's part: its child waits for its end, and does the rest.
fn hand_over(args: &Args, mut scene: Scene, tell: PipeWriter) -> i32 {
    let heir = |mut gone: PipeReader| {
        // The pipe ends with the holder's descriptors, and those go after its memory.
        gone.read_to_end(&mut Vec::new())?;
        scene.happen()?;
        Ok(outcome::lines(&scene.measure(args)?))
    };
    let forked = || -> anyhow::Result<()> {
        rendezvous(args)?;
        let (gone, alive) = io::pipe()?;
        let (_, alive) = sys::fork_child(alive, || report(tell, heir(gone)))?;
        // Without destructors: they would unpin.
        let _ = &alive;
        sys::end_process(0)
    };
    forked().map_or(1, |()| 0)
}

/// What [`understand`] reads.
fn report(mut tell: PipeWriter, result: anyhow::Result<String>) -> i32 {
    let text = match result {
        Ok(lines) => format!("={lines}"),
        Err(error) => match skipped::reason(&error) {
            Some(why) => format!("~{why}"),
            None => format!("!{error:#}"),
        },
    };
    i32::from(tell.write_all(text.as_bytes()).is_err())
}

fn understand(text: &str) -> anyhow::Result<String> {
    match text.split_at_checked(1) {
        Some(("=", lines)) => Ok(lines.to_owned()),
        Some(("~", why)) => Err(skipped::skipped(why)),
        Some((_, error)) => Err(anyhow!("{error}")),
        None => bail!("it said nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_reports_the_other_understands() {
        let through = |result| {
            let (mut told, tell) = io::pipe().expect("pipe");
            assert_eq!(report(tell, result), 0);
            let mut text = String::new();
            told.read_to_string(&mut text).expect("text");
            understand(&text)
        };
        assert_eq!(through(Ok("{}\n".to_owned())).expect("lines"), "{}\n");
        let why = through(Err(skipped::skipped("no swap"))).expect_err("skipped");
        assert_eq!(skipped::reason(&why).as_deref(), Some("no swap"));
        let error = through(Err(anyhow!("broken").context("cannot"))).expect_err("fails");
        assert_eq!(error.to_string(), "cannot: broken");
        assert!(understand("").is_err());
    }
}
