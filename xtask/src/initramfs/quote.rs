//! Quoting for the guest's shell.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

/// The word in single quotes: within them the shell changes no byte.
pub fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Asks the host's own shell what the quoted word is.
    fn check(word: &[u8]) {
        let mut script = b"printf %s ".to_vec();
        script.extend(quote(OsStr::from_bytes(word)));
        let said = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(said.stdout, word);
    }

    #[test]
    fn a_word_survives_the_shell_whatever_its_bytes() {
        check(b"");
        check(b"plain");
        check(b"it's $HOME `id` \"quoted\" \\ back*slash?");
        check(b"two\nlines\tand \xff\x81 bytes that are not UTF-8");
    }
}
