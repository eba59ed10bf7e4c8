//! What is measured, apart from the form in which it is told.

/// How values of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
    /// They are distributions.
    Histogram,
}

/// A base unit. The name of a family ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// As it stands in names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// Values of one sort, by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Without `_total`, which a counter has in some forms.
    pub name: &'static str,
    /// A sentence without its full stop.
    pub help: &'static str,
    /// The unit, where it has one.
    pub unit: Option<Unit>,
    /// How they behave.
    pub kind: Kind,
    /// The values.
    pub points: Vec<Point>,
}

impl Family {
    /// One without values yet.
    pub fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        let units = [Unit::Bytes, Unit::Seconds];
        let unit = units.into_iter().find(|unit| name.ends_with(unit.name()));
        Self { name, help, unit, kind, points: Vec::new() }
    }

    /// The same with a value more.
    #[must_use]
    pub fn with(mut self, labels: Labels, value: f64) -> Self {
        self.points.push(Point { labels, value: Value::Number(value) });
        self
    }
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Which of the family it is.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

/// How many values were as large as what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds, and how many values were above the bound before and not above this one.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were, those above all bounds included.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}
