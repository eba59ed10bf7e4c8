//! How the guest sends a case's output: a header line, then the bytes.
//!
//! `case NUMBER STATUS SECONDS STDOUT-BYTES STDERR-BYTES\n`, stdout, stderr. A guest that
//! dies leaves whole frames of the cases before, which are still judged.

/// What one case sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of the case within its boot.
    pub case: usize,
    /// The script's exit status.
    pub status: u8,
    /// How long it took, by the guest's clock.
    pub seconds: usize,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

/// The whole frames at the start of `bytes`; a cut one is left out.
pub fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    std::iter::from_fn(|| frame(&mut bytes)).collect()
}

fn frame(bytes: &mut &[u8]) -> Option<Frame> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let header = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = header.strip_prefix("case ")?.split(' ');
    let mut number = || words.next()?.parse::<usize>().ok();
    let (case, status, seconds) = (number()?, number()?, number()?);
    let (stdout, stderr) = (number()?, number()?);
    let body = &bytes[end + 1..];
    let (stdout, body) = body.split_at_checked(stdout)?;
    let (stderr, rest) = body.split_at_checked(stderr)?;
    *bytes = rest;
    Some(Frame {
        case,
        status: u8::try_from(status).ok()?,
        seconds,
        stdout: stdout.to_vec(),
        stderr: stderr.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"case 0 0 1 6 0\nhello\ncase 1 3 25 0 4\noops";

    #[test]
    fn frames_come_apart_at_the_lengths_their_headers_give() {
        let frames = parse(TWO);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].stdout, b"hello\n");
        assert_eq!((frames[1].status, frames[1].seconds), (3, 25));
        assert_eq!(frames[1].stderr, b"oops");
    }

    #[test]
    fn a_cut_frame_is_left_out_and_those_before_it_stay() {
        for cut in 0..TWO.len() {
            assert_eq!(parse(&TWO[..cut]).len(), usize::from(cut >= 21), "cut at {cut}");
        }
    }

    #[test]
    fn output_that_looks_like_a_header_is_output() {
        let frames = parse(b"case 0 0 1 15 0\ncase 1 0 1 0 0\n");
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].stdout, b"case 1 0 1 0 0\n");
    }
}
