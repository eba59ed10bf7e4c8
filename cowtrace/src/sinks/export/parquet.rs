//! Tables as Parquet: events and findings, which DuckDB, Spark, Polars and pyarrow read.

use std::io::{self, Write};

use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};

use super::{Found, Row};

/// Rows that are written at once: a bound on memory, and as many as readers like.
const ROW_GROUP: usize = 1 << 16;

/// How a row has a column's value; none is null.
pub enum Get<R> {
    /// Words.
    Text(fn(&R) -> Option<String>),
    /// A number without a sign.
    Number(fn(&R) -> Option<u64>),
    /// Nanoseconds since 1970, UTC.
    Time(fn(&R) -> Option<i64>),
}

/// A row that a table is made of. The host is no column: the folder that the file is in tells it.
pub trait Tabled: Sized + 'static {
    /// Names and values.
    const COLUMNS: &'static [(&'static str, Get<Self>)];
}

impl Tabled for Row {
    const COLUMNS: &'static [(&'static str, Get<Self>)] = &[
        ("time", Get::Time(|row| Some(row.time_ns))),
        ("kind", Get::Text(|row| Some(row.kind.to_owned()))),
        ("tgid", Get::Number(|row| Some(row.tgid.into()))),
        ("tid", Get::Number(|row| Some(row.tid.into()))),
        ("comm", Get::Text(|row| Some(row.comm.clone()))),
        ("cgroup", Get::Number(|row| Some(row.cgroup))),
        ("cpu", Get::Number(|row| Some(row.cpu.into()))),
        ("mm", Get::Number(|row| row.mm)),
        ("address", Get::Number(|row| row.address)),
        ("end", Get::Number(|row| row.end)),
        ("pages", Get::Number(|row| row.pages)),
        ("pfn", Get::Number(|row| row.pfn)),
        ("new_pfn", Get::Number(|row| row.new_pfn)),
        ("flags", Get::Text(|row| row.flags.clone())),
        ("detail", Get::Text(|row| row.detail.clone())),
    ];
}

impl Tabled for Found {
    const COLUMNS: &'static [(&'static str, Get<Self>)] = &[
        ("time", Get::Time(|row| Some(row.time_ns))),
        ("id", Get::Number(|row| Some(row.id))),
        ("verdict", Get::Text(|row| Some(row.verdict.to_owned()))),
        ("certainty", Get::Text(|row| Some(row.certainty.to_owned()))),
        ("how", Get::Text(|row| Some(row.how.to_owned()))),
        ("cause", Get::Text(|row| Some(row.cause.to_owned()))),
        ("proof", Get::Text(|row| row.proof.map(str::to_owned))),
        ("site", Get::Text(|row| row.site.clone())),
        ("holder_tgid", Get::Number(|row| row.holder_tgid.map(u64::from))),
        ("holder_comm", Get::Text(|row| row.holder_comm.clone())),
        ("writer_tgid", Get::Number(|row| Some(row.writer_tgid.into()))),
        ("writer_comm", Get::Text(|row| Some(row.writer_comm.clone()))),
        ("cgroup", Get::Text(|row| row.cgroup.clone())),
        ("address", Get::Number(|row| Some(row.address))),
        ("pages", Get::Number(|row| Some(row.pages))),
        ("old_pfn", Get::Number(|row| Some(row.old_pfn))),
        ("new_pfn", Get::Number(|row| Some(row.new_pfn))),
        ("pinned", Get::Time(|row| row.pinned_ns)),
        ("unpinned", Get::Time(|row| row.unpinned_ns)),
        ("reason", Get::Text(|row| Some(row.reason.clone()))),
        ("advice", Get::Text(|row| Some(row.advice.clone()))),
    ];
}

/// A table being written.
pub struct Table<R: Tabled, W: Write + Send> {
    writer: SerializedFileWriter<W>,
    rows: Vec<R>,
}

impl<R: Tabled, W: Write + Send> Table<R, W> {
    /// Into `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("cowtrace {}", env!("CARGO_PKG_VERSION")))
            .build();
        let schema = parse_message_type(&schema::<R>()).map_err(failed)?;
        let writer = SerializedFileWriter::new(out, schema.into(), properties.into());
        Ok(Self { writer: writer.map_err(failed)?, rows: Vec::new() })
    }

    /// Takes a row in.
    pub fn add(&mut self, row: R) -> io::Result<()> {
        self.rows.push(row);
        if self.rows.len() < ROW_GROUP { Ok(()) } else { self.flush() }
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.writer.finish().map_err(failed)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for (_, get) in R::COLUMNS {
            column(&mut group, &rows, get).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }
}

/// All columns may be null: one rule for all kinds of events.
fn schema<R: Tabled>() -> String {
    let column = |(name, get): &(&str, Get<R>)| match get {
        Get::Text(_) => format!("optional binary {name} (STRING);"),
        Get::Number(_) => format!("optional int64 {name} (INTEGER(64, false));"),
        Get::Time(_) => format!("optional int64 {name} (TIMESTAMP(NANOS, true));"),
    };
    let columns: String = R::COLUMNS.iter().map(column).collect();
    format!("message row {{ {columns} }}")
}

fn column<R, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<W>,
    rows: &[R],
    get: &Get<R>,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("fewer columns than the schema has".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    match get {
        Get::Text(get) => {
            let values = rows.iter().map(|row| get(row).map(|text| ByteArray::from(text.as_str())));
            let (values, levels) = levels(values);
            writer.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Get::Number(get) => {
            let (values, levels) = levels(rows.iter().map(|row| get(row).map(u64::cast_signed)));
            writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
        Get::Time(get) => {
            let (values, levels) = levels(rows.iter().map(get));
            writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
    }
    writer.close()
}

/// The values that are there, and for each row whether there is one.
fn levels<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut there, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        there.extend(value);
    }
    (there, levels)
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
