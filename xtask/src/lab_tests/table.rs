//! The cases. A row is a sentence, a guest script and a check.

use anyhow::{Result, ensure};

use super::case::{Case, Run};

/// All lab tests, in the order in which they run.
pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "the guest runs the kernel asked for",
        "uname -r",
        the_release_is_of_the_series,
    )]
}

fn the_release_is_of_the_series(run: &Run) -> Result<()> {
    run.expect_status(0)?;
    ensure!(
        run.text().starts_with(&format!("{}.", run.kernel)),
        "another release"
    );
    Ok(())
}
