//! The filter language, the same on the command line and in the terminal view:
//! `comm=nccl* verdict>=diverged cgroup=/k8s/*`.
//!
//! A filter is terms with spaces between them, all of which a row must meet. A term is a field, an operator (`=`,
//! `!=`, `<`, `<=`, `>`, `>=`) and values with commas between them, any of which will do; or a bare word, which is
//! looked for in all fields. `*` stands for anything. Quotes keep spaces together.

mod field;
mod row;

use std::fmt;

use glob::{MatchOptions, Pattern};

pub use self::{
    field::{Field, Value},
    row::Row,
};
use crate::{finding::Verdict, trace::Trace};

/// Terms that a row must meet. None: every row does.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    terms: Vec<Term>,
}

/// What a user typed and nobody can read: what is wrong, and what would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

#[derive(Clone, Debug)]
enum Term {
    /// Somewhere, in lower case.
    Word(String),
    /// One of the values.
    Is(Field, Vec<Wanted>),
    /// None of them.
    IsNot(Field, Vec<Wanted>),
    /// In an order that the field has.
    Compares(Field, Order, Rank),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Something that has an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Number(u64),
    Verdict(Verdict),
}

#[derive(Clone, Debug)]
enum Wanted {
    Number(u64),
    Text(Pattern),
}

/// Case does not matter, and a `*` goes on behind a slash.
const LOOSE: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// Longer ones first: `>=` begins with `>`.
const OPERATORS: [&str; 6] = ["!=", ">=", "<=", "=", ">", "<"];

impl Filter {
    /// Reads what the user typed, for rows that have these fields.
    pub fn parse(text: &str, fields: &[Field]) -> Result<Self, Unreadable> {
        let terms = words(text)?.iter().map(|word| term(word, fields)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), terms })
    }

    /// As typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether every row meets it.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a row meets it.
    pub fn takes(&self, trace: &Trace, row: &impl Row) -> bool {
        self.terms.iter().all(|term| meets(term, trace, row))
    }
}

/// Splits at spaces that no quotes enclose.
fn words(text: &str) -> Result<Vec<String>, Unreadable> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if quoted {
        return Err(Unreadable("a quote is not closed".to_owned()));
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

fn term(word: &str, fields: &[Field]) -> Result<Term, Unreadable> {
    let at = |operator: &&'static str| word.find(*operator).map(|at| (at, *operator));
    // The leftmost; of those at the same place the longest, which is the first of the list.
    let found = OPERATORS.iter().filter_map(at).min_by_key(|(at, _)| *at);
    let Some((at, operator)) = found else {
        return Ok(Term::Word(word.to_lowercase()));
    };
    let (name, value) = (&word[..at], &word[at + operator.len()..]);
    let field = fields.iter().copied().find(|field| field.name() == name.to_lowercase());
    let field = field.ok_or_else(|| no_field(name, fields))?;
    let wanted =
        || value.split(',').map(|value| wanted(field, value)).collect::<Result<Vec<_>, _>>();
    Ok(match operator {
        "=" => Term::Is(field, wanted()?),
        "!=" => Term::IsNot(field, wanted()?),
        "<" => Term::Compares(field, Order::Less, rank(field, value)?),
        "<=" => Term::Compares(field, Order::LessOrEqual, rank(field, value)?),
        ">" => Term::Compares(field, Order::Greater, rank(field, value)?),
        _ => Term::Compares(field, Order::GreaterOrEqual, rank(field, value)?),
    })
}

fn no_field(name: &str, fields: &[Field]) -> Unreadable {
    let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
    Unreadable(format!("no field \"{name}\" here: there are {}", names.join(", ")))
}

fn wanted(field: Field, value: &str) -> Result<Wanted, Unreadable> {
    if field.is_number() {
        return number(value).map(Wanted::Number).ok_or_else(|| no_number(field, value));
    }
    if field == Field::Verdict && !value.contains('*') {
        verdict(value)?;
    }
    // Only `*` is special: names of kernel functions and workers have brackets.
    let pattern = value.split('*').map(Pattern::escape).collect::<Vec<_>>().join("*");
    let pattern = Pattern::new(&pattern).map_err(|error| Unreadable(error.to_string()))?;
    Ok(Wanted::Text(pattern))
}

fn rank(field: Field, value: &str) -> Result<Rank, Unreadable> {
    if field == Field::Verdict {
        return verdict(value).map(Rank::Verdict);
    }
    if !field.is_number() {
        let name = field.name();
        return Err(Unreadable(format!("{name} has no order: {name}= and {name}!= are there")));
    }
    number(value).map(Rank::Number).ok_or_else(|| no_number(field, value))
}

fn verdict(name: &str) -> Result<Verdict, Unreadable> {
    let found = Verdict::ALL.into_iter().find(|verdict| verdict.name() == name.to_lowercase());
    let all = Verdict::ALL.map(Verdict::name).join(", ");
    found.ok_or_else(|| Unreadable(format!("no verdict \"{name}\": there are {all}")))
}

/// Decimal, or hexadecimal behind `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn no_number(field: Field, value: &str) -> Unreadable {
    Unreadable(format!("{} is a number, as 42 or 0x2a, and \"{value}\" is none", field.name()))
}

fn meets(term: &Term, trace: &Trace, row: &impl Row) -> bool {
    let any = |field, wanted: &[Wanted]| {
        row.values(trace, field).iter().any(|value| wanted.iter().any(|wanted| is(value, wanted)))
    };
    match term {
        Term::Word(word) => row
            .fields()
            .iter()
            .flat_map(|field| row.values(trace, *field))
            .any(|value| value.to_string().to_lowercase().contains(word)),
        Term::Is(field, wanted) => any(*field, wanted),
        Term::IsNot(field, wanted) => !any(*field, wanted),
        Term::Compares(field, order, rank) => {
            row.values(trace, *field).iter().any(|value| compares(value, *order, *rank))
        }
    }
}

fn is(value: &Value, wanted: &Wanted) -> bool {
    match (value, wanted) {
        (Value::Number(value) | Value::Address(value), Wanted::Number(wanted)) => value == wanted,
        (Value::Range(start, end), Wanted::Number(wanted)) => (*start..*end).contains(wanted),
        (Value::Text(value), Wanted::Text(pattern)) => pattern.matches_with(value, LOOSE),
        (Value::Verdict(verdict), Wanted::Text(pattern)) => {
            pattern.matches_with(verdict.name(), LOOSE)
        }
        _ => false,
    }
}

fn compares(value: &Value, order: Order, rank: Rank) -> bool {
    let compared = match (value, rank) {
        (Value::Number(value) | Value::Address(value), Rank::Number(rank)) => value.cmp(&rank),
        (Value::Range(start, _), Rank::Number(rank)) => start.cmp(&rank),
        (Value::Verdict(value), Rank::Verdict(rank)) => value.cmp(&rank),
        _ => return false,
    };
    match order {
        Order::Less => compared.is_lt(),
        Order::LessOrEqual => compared.is_le(),
        Order::Greater => compared.is_gt(),
        Order::GreaterOrEqual => compared.is_ge(),
    }
}

#[cfg(test)]
mod tests;
