//! Numbers in as few bytes as they need: LEB128, signed ones in zigzag order (0, -1, 1, -2, …).

/// Why bytes are no numbers: they end too early, or say more than they can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes [`put`] would append.
pub fn size(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// The distance from `before` to `number`, in zigzag order: small ones of either sign are small numbers.
pub fn distance(before: u64, number: u64) -> u64 {
    let signed = number.wrapping_sub(before).cast_signed();
    (signed << 1 ^ signed >> 63).cast_unsigned()
}

/// The number at a [`distance`].
pub fn beyond(before: u64, distance: u64) -> u64 {
    before.wrapping_add(distance >> 1 ^ (distance & 1).wrapping_neg())
}

/// Takes a number off the front of `bytes`.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Result<u64, Invalid> {
    // Most are small: where a column stays the same, 0.
    if let [byte @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*byte));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Result<u64, Invalid> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Invalid)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Invalid)
}

/// Takes the zeros off the front of `bytes`, at most so many; how many there were.
pub fn take_zeros(bytes: &mut &[u8], most: usize) -> usize {
    let (eights, _) = bytes[..most.min(bytes.len())].as_chunks::<8>();
    let zeros = 8 * eights.iter().take_while(|eight| **eight == [0; 8]).count();
    let more = bytes[zeros..].iter().take((most - zeros).min(8)).take_while(|byte| **byte == 0);
    let zeros = zeros + more.count();
    *bytes = &bytes[zeros..];
    zeros
}

/// Takes `n` bytes off the front.
pub fn take_bytes<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], Invalid> {
    let (taken, rest) = bytes.split_at_checked(n).ok_or(Invalid)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX];

    #[test]
    fn a_number_comes_back_and_takes_the_bytes_that_were_said() {
        for number in NUMBERS {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(bytes.len(), size(number), "{number:#x}");
            assert_eq!(take(&mut &bytes[..]), Ok(number));
        }
    }

    #[test]
    fn a_distance_leads_back_and_is_small_in_both_directions() {
        for before in NUMBERS {
            for number in NUMBERS {
                assert_eq!(beyond(before, distance(before, number)), number);
            }
        }
        assert_eq!([distance(5, 5), distance(5, 4), distance(5, 6)], [0, 1, 2]);
    }

    #[test]
    fn zeros_are_taken_up_to_the_first_other_byte_or_as_many_as_were_asked_for() {
        for zeros in [0, 1, 7, 8, 9, 30] {
            let bytes = [vec![0; zeros], vec![5, 0, 0]].concat();
            let mut rest = &bytes[..];
            assert_eq!(take_zeros(&mut rest, 100), zeros);
            assert_eq!(rest, [5, 0, 0]);
            assert_eq!(take_zeros(&mut &bytes[..], 9), zeros.min(9));
        }
        assert_eq!(take_zeros(&mut &[0; 20][..], 100), 20);
    }

    #[test]
    fn what_ends_too_early_or_never_is_invalid() {
        assert_eq!(take(&mut &[0x80][..]), Err(Invalid));
        assert_eq!(take(&mut &[0xff; 11][..]), Err(Invalid));
        assert_eq!(take_bytes(&mut &[1, 2][..], 3), Err(Invalid));
    }
}
