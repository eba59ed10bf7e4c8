//! A case that cannot run here: no failure, and nothing measured.

use std::io;

use anyhow::Error;

/// Why.
#[derive(Debug)]
pub(super) struct Skipped(String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// An error that says that the case cannot run here.
pub(super) fn skipped(why: impl Into<String>) -> Error {
    Skipped(why.into()).into()
}

/// Skips where the kernel answers with one of these errors; any other is a failure.
pub(super) fn skip_on<'a>(errors: &'a [i32], why: &'a str) -> impl FnOnce(io::Error) -> Error + 'a {
    move |error| match error.raw_os_error() {
        Some(code) if errors.contains(&code) => skipped(format!("{why} ({error})")),
        _ => Error::new(error),
    }
}

/// The reason, if the error is one to skip the case.
pub(super) fn reason(error: &Error) -> Option<String> {
    error.chain().find_map(|cause| cause.downcast_ref::<Skipped>()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_reason_to_skip_is_found_under_what_was_tried() {
        let error =
            Err::<(), _>(skipped("no swap")).context("cannot page out").expect_err("is one");
        assert_eq!(reason(&error).as_deref(), Some("no swap"));
    }

    #[test]
    fn only_the_named_errors_skip() {
        let refused =
            |code| skip_on(&[libc::EINVAL], "too old")(io::Error::from_raw_os_error(code));
        assert!(reason(&refused(libc::EINVAL)).is_some_and(|why| why.starts_with("too old (")));
        assert!(reason(&refused(libc::ENOMEM)).is_none());
    }
}
