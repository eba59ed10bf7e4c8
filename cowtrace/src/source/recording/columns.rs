//! Records by column: what is alike in them stands side by side, where little is left of it.
//!
//! Promise: whatever bytes go in come out again, whole records or not. A record is taken apart into the
//! fields of its header, its stack (told once in a block) and 32-bit words of its body; each is a column,
//! kept apart for each kind and program, and told as distances. What kinds mean is not known here.

use cowtrace_common::wire::{Header, kind};
use hashbrown::HashMap;

use super::varint::{Invalid, beyond, distance, put, size, take, take_bytes, take_zeros};
use crate::event::Time;

/// In front of bytes that are not whole records, as they are.
const AS_IT_IS: u8 = 0;
/// In front of columns.
const COLUMNS: u8 = 1;
/// Bytes of a header.
const HEADER: usize = size_of::<Header>();
/// Numbers of a header, each a column, besides those that a group or the stack tells: time, cgroup, tgid, tid,
/// CPU, name, stack, bytes of the body.
const FIELDS: usize = 8;
/// Which of them is the name, …
const NAME: usize = 5;
/// … the stack, …
const STACK: usize = 6;
/// … and the length of the body.
const BODY: usize = 7;
/// A column's word is told as its distance from the one before in the column, …
const FROM_COLUMN: u8 = 0;
/// … or from the one two places before in the same record: both are of 64-bit numbers, as addresses are.
const FROM_RECORD: u8 = 1;

/// A record, taken apart.
struct Record<'a> {
    fields: [u64; FIELDS],
    body: &'a [u8],
}

/// Records of one kind from one program.
struct Group<'a> {
    kind: u16,
    program: u16,
    records: Vec<Record<'a>>,
}

/// What many records have in common, numbered in the order in which it came.
struct Table<'a> {
    numbers: HashMap<&'a [u8], u64>,
    entries: Vec<&'a [u8]>,
}

impl<'a> Table<'a> {
    fn new() -> Self {
        Self { numbers: HashMap::new(), entries: Vec::new() }
    }

    fn number(&mut self, entry: &'a [u8]) -> u64 {
        *self.numbers.entry(entry).or_insert_with(|| {
            self.entries.push(entry);
            self.entries.len() as u64 - 1
        })
    }
}

/// Whether bodies of a kind are text, of which words say nothing.
fn is_text(kind: u16) -> bool {
    matches!(kind, kind::FACT | kind::PROBE | kind::SYMBOL)
}

/// Turns records into columns.
pub fn encode(batch: &[u8]) -> Vec<u8> {
    take_apart(batch).unwrap_or_else(|| [&[AS_IT_IS], batch].concat())
}

/// `None` if it is not whole records.
fn take_apart(mut batch: &[u8]) -> Option<Vec<u8>> {
    let (mut names, mut stacks) = (Table::new(), Table::new());
    let mut depths: HashMap<u64, [u16; 2]> = HashMap::new();
    let (mut groups, mut order): (Vec<Group<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
    while !batch.is_empty() {
        let (len, _) = header(batch)?;
        let (record, rest) = batch.split_at(len);
        batch = rest;
        let [kernel, user] = [number(record, 36, 2)?, number(record, 38, 2)?];
        let frames = len.checked_sub(HEADER)?.checked_sub(8 * (kernel + user) as usize)?;
        let (body, frames) = record[HEADER..].split_at(frames);
        let stack = stacks.number(frames);
        // The same frames may be cut between kernel and user at another place.
        let depth = [kernel as u16, user as u16];
        if *depths.entry(stack).or_insert(depth) != depth {
            return None;
        }
        let fields = [
            number(record, 8, 8)?,
            number(record, 16, 8)?,
            number(record, 24, 4)?,
            number(record, 28, 4)?,
            number(record, 32, 4)?,
            names.number(&record[40..HEADER]),
            stack,
            body.len() as u64,
        ];
        let (kind, program) = (number(record, 4, 2)? as u16, number(record, 6, 2)? as u16);
        let at = groups.iter().position(|group| (group.kind, group.program) == (kind, program));
        let at = at.unwrap_or_else(|| {
            groups.push(Group { kind, program, records: Vec::new() });
            groups.len() - 1
        });
        groups[at].records.push(Record { fields, body });
        order.push(at);
    }
    let mut out = vec![COLUMNS];
    put(&mut out, groups.len() as u64);
    for group in &groups {
        put(&mut out, group.kind.into());
        put(&mut out, group.program.into());
    }
    put(&mut out, order.len() as u64);
    for group in &order {
        put(&mut out, *group as u64);
    }
    put(&mut out, names.entries.len() as u64);
    names.entries.iter().for_each(|name| out.extend_from_slice(name));
    put_stacks(&mut out, &stacks, &depths);
    for group in &groups {
        put_group(&mut out, group);
    }
    Some(out)
}

/// Bytes and time of the first record of a batch; `None` if it is not whole.
pub fn header(batch: &[u8]) -> Option<(usize, Time)> {
    let len = number(batch, 0, 4)? as usize;
    let whole = (HEADER..=batch.len()).contains(&len);
    whole.then_some((len, number(batch, 8, 8)?))
}

/// Whether the kernel side wrote the first record of a batch.
pub fn is_of_the_kernel(batch: &[u8]) -> bool {
    number(batch, 4, 2).is_some_and(|number| number < u64::from(kind::SOURCE))
}

/// A little-endian number inside a record.
fn number(record: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = record.get(at..at + bytes)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn put_stacks(out: &mut Vec<u8>, stacks: &Table<'_>, depths: &HashMap<u64, [u16; 2]>) {
    put(out, stacks.entries.len() as u64);
    let mut before = 0;
    for (stack, frames) in (0..).zip(&stacks.entries) {
        depths[&stack].iter().for_each(|depth| put(out, (*depth).into()));
        for frame in frames.chunks_exact(8) {
            let frame = number(frame, 0, 8).unwrap_or(0);
            put(out, distance(before, frame));
            before = frame;
        }
    }
}

fn put_group(out: &mut Vec<u8>, group: &Group<'_>) {
    for field in 0..FIELDS {
        let mut before = 0;
        for record in &group.records {
            put(out, distance(before, record.fields[field]));
            before = record.fields[field];
        }
    }
    if is_text(group.kind) {
        group.records.iter().for_each(|record| out.extend_from_slice(record.body));
        return;
    }
    let longest = group.records.iter().map(|record| record.body.len() / 4).max().unwrap_or(0);
    for word in 0..longest {
        put_column(out, group, word);
    }
    group
        .records
        .iter()
        .for_each(|record| out.extend_from_slice(record.body.chunks_exact(4).remainder()));
}

/// The column of one word of the bodies that are long enough, by the shorter of its two ways.
fn put_column(out: &mut Vec<u8>, group: &Group<'_>, word: usize) {
    let bodies = || group.records.iter().filter(|record| record.body.len() / 4 > word);
    let value = |record: &Record<'_>, word: usize| number(record.body, 4 * word, 4).unwrap_or(0);
    let from_column = || {
        bodies().scan(0, |before, record| {
            let value = value(record, word);
            Some(distance(std::mem::replace(before, value), value))
        })
    };
    let from_record = || {
        bodies().map(|record| distance(value(record, word.wrapping_sub(2)), value(record, word)))
    };
    let bytes = |column: &mut dyn Iterator<Item = u64>| column.map(size).sum::<usize>();
    if word < 2 || bytes(&mut from_column()) <= bytes(&mut from_record()) {
        out.push(FROM_COLUMN);
        from_column().for_each(|distance| put(out, distance));
    } else {
        out.push(FROM_RECORD);
        from_record().for_each(|distance| put(out, distance));
    }
}

/// Turns columns into the records that they were made of: at most `most` bytes.
pub fn decode(mut bytes: &[u8], most: usize) -> Result<Vec<u8>, Invalid> {
    match take_bytes(&mut bytes, 1)? {
        [AS_IT_IS] if bytes.len() <= most => Ok(bytes.to_vec()),
        [COLUMNS] => put_together(bytes, most),
        _ => Err(Invalid),
    }
}

/// Records of a group, while they are put together: by column, as they are told.
struct Columns<'a> {
    /// Of each record.
    fields: [Vec<u64>; FIELDS],
    /// Words of those bodies that are long enough.
    words: Vec<Words>,
    /// What of the bodies is no words.
    bytes: &'a [u8],
    /// The record that is put together next.
    next: usize,
}

/// A column of words.
struct Words {
    values: std::vec::IntoIter<u32>,
    /// All ones where a value is a distance [from the record](FROM_RECORD), else 0.
    from_record: u32,
}

impl Columns<'_> {
    /// The fields of the record that is next.
    fn next(&mut self) -> Option<[u64; FIELDS]> {
        let n = self.next;
        self.next += 1;
        (n < self.fields[BODY].len()).then(|| std::array::from_fn(|field| self.fields[field][n]))
    }

    /// Fills in its body.
    fn put_body(&mut self, body: &mut [u8]) -> Result<(), Invalid> {
        let words = self.words.len().min(body.len() / 4);
        let (chunks, rest) = body.split_at_mut(4 * words);
        let mut before = [0; 2];
        for (chunk, column) in chunks.as_chunks_mut::<4>().0.iter_mut().zip(&mut self.words) {
            let value = column.values.next().ok_or(Invalid)?;
            let value = value.wrapping_add(before[0] & column.from_record);
            *chunk = value.to_le_bytes();
            before = [before[1], value];
        }
        rest.copy_from_slice(take_bytes(&mut self.bytes, rest.len())?);
        Ok(())
    }
}

fn put_together(mut bytes: &[u8], most: usize) -> Result<Vec<u8>, Invalid> {
    let bytes = &mut bytes;
    let kinds = counted(bytes, most, |bytes| Ok((word16(bytes)?, word16(bytes)?)))?;
    let order = counted(bytes, most / HEADER, |bytes| Ok(take(bytes)? as usize))?;
    let names = counted(bytes, most, |bytes| take_bytes(bytes, 16))?;
    let stacks = take_stacks(bytes, most)?;
    let mut counts = vec![0; kinds.len()];
    for group in &order {
        *counts.get_mut(*group).ok_or(Invalid)? += 1;
    }
    let mut left = most;
    let mut groups = Vec::with_capacity(kinds.len());
    for ((kind, _), count) in kinds.iter().zip(counts) {
        groups.push(take_group(bytes, *kind, count, &mut left)?);
    }
    let mut out = vec![0; most];
    let mut free = &mut out[..];
    for number in order {
        let group = &mut groups[number];
        let fields = group.next().ok_or(Invalid)?;
        let [name, stack, body] = [fields[NAME], fields[STACK], fields[BODY]].map(|n| n as usize);
        let name = names.get(name).ok_or(Invalid)?;
        let (depths, frames) = stacks.get(stack).ok_or(Invalid)?;
        let len = HEADER + body + frames.len();
        let record = free.split_off_mut(..len).ok_or(Invalid)?;
        record[..HEADER].copy_from_slice(&header_of(len, kinds[number], &fields, *depths, name));
        group.put_body(&mut record[HEADER..HEADER + body])?;
        record[HEADER + body..].copy_from_slice(frames);
    }
    let len = most - free.len();
    out.truncate(len);
    if bytes.is_empty() { Ok(out) } else { Err(Invalid) }
}

/// The header of a record, as the wire has it.
fn header_of(
    len: usize,
    (kind, program): (u16, u16),
    [time, cgroup, process, thread, cpu, ..]: &[u64; FIELDS],
    [kernel, user]: [u16; 2],
    name: &[u8],
) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4..6].copy_from_slice(&kind.to_le_bytes());
    header[6..8].copy_from_slice(&program.to_le_bytes());
    header[8..16].copy_from_slice(&time.to_le_bytes());
    header[16..24].copy_from_slice(&cgroup.to_le_bytes());
    header[24..28].copy_from_slice(&(*process as u32).to_le_bytes());
    header[28..32].copy_from_slice(&(*thread as u32).to_le_bytes());
    header[32..36].copy_from_slice(&(*cpu as u32).to_le_bytes());
    header[36..38].copy_from_slice(&kernel.to_le_bytes());
    header[38..40].copy_from_slice(&user.to_le_bytes());
    header[40..].copy_from_slice(name);
    header
}

/// How many frames of kernel and process there are, and all of them.
type Frames = ([u16; 2], Vec<u8>);

fn take_stacks(bytes: &mut &[u8], most: usize) -> Result<Vec<Frames>, Invalid> {
    let mut before = 0;
    counted(bytes, most, |bytes| {
        let depths = [word16(bytes)?, word16(bytes)?];
        let count = usize::from(depths[0]) + usize::from(depths[1]);
        let mut frames = Vec::with_capacity(8 * count.min(bytes.len()));
        for _ in 0..count {
            before = beyond(before, take(bytes)?);
            frames.extend_from_slice(&before.to_le_bytes());
        }
        Ok((depths, frames))
    })
}

fn word16(bytes: &mut &[u8]) -> Result<u16, Invalid> {
    u16::try_from(take(bytes)?).map_err(|_| Invalid)
}

/// A count, at most `most`, and as many of something.
fn counted<'a, T>(
    bytes: &mut &'a [u8],
    most: usize,
    mut one: impl FnMut(&mut &'a [u8]) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let count = usize::try_from(take(bytes)?).ok().filter(|count| *count <= most).ok_or(Invalid)?;
    (0..count).map(|_| one(bytes)).collect()
}

/// `left`: how many bytes of bodies there may be.
fn take_group<'a>(
    bytes: &mut &'a [u8],
    kind: u16,
    count: usize,
    left: &mut usize,
) -> Result<Columns<'a>, Invalid> {
    let mut fields: [Vec<u64>; FIELDS] = Default::default();
    for field in &mut fields {
        *field = take_column(bytes, count, |value| value)?;
    }
    let mut lengths = Vec::with_capacity(count);
    for len in &fields[BODY] {
        let len = usize::try_from(*len).map_err(|_| Invalid)?;
        *left = left.checked_sub(len).ok_or(Invalid)?;
        lengths.push(len);
    }
    let all: usize = lengths.iter().sum();
    if is_text(kind) {
        let bytes = take_bytes(bytes, all)?;
        return Ok(Columns { fields, words: Vec::new(), bytes, next: 0 });
    }
    lengths.sort_unstable();
    let longest = lengths.last().map_or(0, |longest| longest / 4);
    let mut words = Vec::with_capacity(longest);
    for word in 0..longest {
        let shorter = lengths.partition_point(|len| len / 4 <= word);
        words.push(take_words(bytes, count - shorter, word)?);
    }
    let bytes = take_bytes(bytes, lengths.iter().map(|len| len % 4).sum())?;
    Ok(Columns { fields, words, bytes, next: 0 })
}

/// The column of one word of so many bodies.
fn take_words(bytes: &mut &[u8], count: usize, word: usize) -> Result<Words, Invalid> {
    let (values, from_record) = match take_bytes(bytes, 1)? {
        [FROM_COLUMN] => (take_column(bytes, count, |value| value as u32)?, 0),
        [FROM_RECORD] if word >= 2 => {
            let distances = (0..count).map(|_| Ok(beyond(0, take(bytes)?) as u32));
            (distances.collect::<Result<Vec<_>, _>>()?, u32::MAX)
        }
        _ => return Err(Invalid),
    };
    Ok(Words { values: values.into_iter(), from_record })
}

/// So many numbers, each told as its distance from the one before.
fn take_column<T: Copy>(
    bytes: &mut &[u8],
    count: usize,
    narrow: impl Fn(u64) -> T,
) -> Result<Vec<T>, Invalid> {
    // Each takes a byte at least: a count from outside takes no more memory than that.
    let mut column = Vec::with_capacity(count.min(bytes.len()));
    let mut before = 0;
    while column.len() < count {
        let same = take_zeros(bytes, count - column.len());
        column.resize(column.len() + same, narrow(before));
        if column.len() < count {
            before = beyond(before, take(bytes)?);
            column.push(narrow(before));
        }
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1 << 20;

    /// A record with two frames; a body is any bytes here.
    fn record(kind: u16, time: u64, body: &[u8]) -> Vec<u8> {
        let mut record = ((HEADER + body.len() + 16) as u32).to_le_bytes().to_vec();
        record.extend_from_slice(&kind.to_le_bytes());
        record.extend_from_slice(&7u16.to_le_bytes());
        record.extend_from_slice(&time.to_le_bytes());
        record.extend_from_slice(&[9; 8 + 12]);
        record.extend_from_slice(&[1, 0, 1, 0]);
        record.extend_from_slice(b"some comm\0\0\0\0\0\0\0");
        record.extend_from_slice(body);
        record.extend_from_slice(&[0xff, 0x81, 0, 0, 0, 0, 0, 5, 0xff, 0x81, 0, 0, 0, 0, 0, 9]);
        record
    }

    fn there_and_back(batch: &[u8]) {
        assert_eq!(decode(&encode(batch), MOST).as_deref(), Ok(batch));
    }

    #[test]
    fn records_come_back_as_they_went_in_and_in_their_order() {
        let batch = [
            record(1, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
            record(kind::SYMBOL, 5, b"a name"),
            record(1, 4, &[]),
            record(1, 9, &[0xff; 400]),
        ];
        there_and_back(&batch.concat());
        assert_eq!(encode(&batch.concat())[0], COLUMNS);
    }

    #[test]
    fn what_is_not_whole_records_comes_back_too() {
        there_and_back(b"");
        there_and_back(b"no records");
        let whole = record(1, 5, &[1, 2, 3]);
        for len in 1..whole.len() {
            there_and_back(&whole[..len]);
        }
    }

    #[test]
    fn a_thousand_records_that_are_alike_take_little_more_than_their_differences() {
        let one = |n: u64| {
            let words = [0xffff_8881_0000_1000_u64, 0x7f00_0000_0000 + n * 4096, n];
            record(2, 1_000_000 + n * 700, words.map(u64::to_le_bytes).as_flattened())
        };
        let batch: Vec<u8> = (0..1000).flat_map(one).collect();
        // 3 columns of words that change, one of times, 13 that do not: a byte or two each.
        assert!(encode(&batch).len() < 1000 * 22, "{}", encode(&batch).len());
        there_and_back(&batch);
    }

    #[test]
    fn more_than_was_allowed_is_refused() {
        let columns = encode(&record(1, 5, &[0; 100]));
        assert_eq!(decode(&columns, 100), Err(Invalid));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(batch in proptest::collection::vec(any::<u8>(), 0..300)) {
            there_and_back(&batch);
        }

        #[test]
        fn damaged_columns_are_refused_or_are_something_else(
            at in any::<prop::sample::Index>(), value in any::<u8>(),
        ) {
            let batch: Vec<u8> =
                (0..20).flat_map(|n| record(2, n, &[n as u8; 20])).collect();
            let mut columns = encode(&batch);
            let at = at.index(columns.len());
            columns[at] = value;
            if let Ok(decoded) = decode(&columns, MOST) {
                prop_assert!(decoded.len() <= MOST);
            }
        }
    }
}
