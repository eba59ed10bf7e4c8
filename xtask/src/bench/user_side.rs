//! What the user side takes a second: `cargo bench --bench fold`, read from what it prints.
//!
//! Surprise: alone on the page, its figures are of the clock on the wall, so of this machine and of what else it does.

use std::{fmt::Write as _, process::Stdio};

use anyhow::{Context as _, Result, bail};

use super::page::decimal;
use crate::process;

/// Millions of records a second, from a ring's bytes to verdicts on one core.
const TARGET: f64 = 10.0;
/// The recording that it is held against: as a host in trouble, it has a finding in a thousand records.
const TARGET_OF: (&str, &str) = ("judge", "diverged-5.10");
/// Few and many live pages, as the benchmark names them.
const LIVE: [&str; 2] = ["10000", "10000000"];
/// Of the pages that are taken in a second beside few live ones, as many have to be beside many.
const FLAT: f64 = 0.9;

/// The benchmarks, and what each does.
const BENCHES: [(&str, &str); 4] = [
    ("judge", "from a ring's bytes to verdicts"),
    ("decode", "from a ring's bytes to events"),
    ("read", "from a recording's bytes to records"),
    ("live", "pages pinned and unpinned beside so many live ones"),
];

/// What one benchmark did in a second with one argument.
#[derive(Debug)]
struct Rate {
    bench: String,
    argument: String,
    /// Items a second.
    fastest: f64,
    median: f64,
}

/// All that the benchmark printed.
#[derive(Debug)]
pub struct Rates(Vec<Rate>);

/// Runs the benchmark.
pub fn measure() -> Result<Rates> {
    eprintln!("bench: the user side (some minutes more if it has to be built as a release is)");
    let mut cargo = process::cargo();
    cargo.args(["bench", "--quiet", "--package", "cowtrace", "--bench", "fold"]);
    Rates::parse(&process::text(cargo.stderr(Stdio::inherit()))?)
}

impl Rates {
    /// Reads the tree that divan prints: behind a branch the name of a benchmark or of its argument with times, and in
    /// the line below that what was done in a second.
    fn parse(text: &str) -> Result<Self> {
        let (mut bench, mut argument, mut rates) = ("", "", Vec::new());
        for line in text.lines() {
            if let Some((branch, rest)) = line.split_once("─ ") {
                let name = rest.split_whitespace().next().unwrap_or_default();
                // An argument's branch begins behind its benchmark's.
                let is_bench = branch.chars().count() == 1;
                (bench, argument) = if is_bench { (name, "") } else { (bench, name) };
            } else if line.contains("item/s") {
                let [fastest, median] = fastest_and_median(line)
                    .with_context(|| format!("not understood: {line:?}\n  in\n{text}"))?;
                let (bench, argument) = (bench.to_owned(), argument.to_owned());
                rates.push(Rate { bench, argument, fastest, median });
            }
        }
        let rates = Self(rates);
        for (bench, argument) in [TARGET_OF, ("live", LIVE[0]), ("live", LIVE[1])] {
            if rates.get(bench, argument).is_none() {
                bail!("`cargo bench --bench fold` told no rate of {bench} {argument}:\n{text}");
            }
        }
        Ok(rates)
    }

    fn get(&self, bench: &str, argument: &str) -> Option<&Rate> {
        self.0.iter().find(|rate| rate.bench == bench && rate.argument == argument)
    }

    /// The table, then what misses its target.
    pub fn section(&self, page: &mut String) -> Result<()> {
        page.push_str(HEAD);
        for (bench, what) in BENCHES {
            for rate in self.0.iter().filter(|rate| rate.bench == bench) {
                let target = (bench, rate.argument.as_str()) == TARGET_OF;
                let target = decimal(target.then_some(TARGET), 0);
                let of = grouped(&rate.argument);
                let [fastest, median] = [rate.fastest, rate.median].map(millions);
                writeln!(page, "| {what} | {of} | {fastest} | {median} | {target} |")?;
            }
        }
        self.misses(page)
    }

    fn misses(&self, page: &mut String) -> Result<()> {
        let fastest = |bench, argument| {
            let rate = self.get(bench, argument).context("it was looked for")?;
            anyhow::Ok(rate.fastest)
        };
        let judged = fastest(TARGET_OF.0, TARGET_OF.1)?;
        page.push('\n');
        if judged < TARGET * 1e6 {
            let by = millions(TARGET * 1e6 - judged);
            writeln!(page, "* Missed by {by}: {} to verdicts. {}", TARGET_OF.1, self.why(judged))?;
        }
        let [few, many] = LIVE.map(grouped);
        let ratio = fastest("live", LIVE[1])? / fastest("live", LIVE[0])?;
        write!(page, "* Beside {many} live pages, {ratio:.2} of what is done beside {few}; ")?;
        page.push_str(if ratio < FLAT { NOT_FLAT } else { "1 is flat.\n" });
        Ok(())
    }

    /// What of the time from bytes to verdicts the first half takes.
    fn why(&self, judged: f64) -> String {
        let rest = "the ledger, the rules, and what a finding keeps and tells of its pages";
        let decoded = self.get("decode", TARGET_OF.1).map(|rate| 100.0 * judged / rate.fastest);
        decoded.map_or(format!("Beside decoding it is {rest}."), |part| {
            format!("Decoding takes {part:.0} % of the time, and the rest {rest}.")
        })
    }
}

const HEAD: &str = "
## The user side

Millions of records a second on one core, and of pages in the rows about live ones, by `cargo bench --bench fold`, which is
built as a release is. These figures are of the clock on the wall, on the machine named above and in no guest: another
one has others, and so has a busy one. So the fastest pass counts, and the median beside it says how busy it was.

The records are those of stored recordings, told again and again. diverged-5.10 has a finding in a thousand records, as a
host in trouble might; the others have one in some twenty, which no host has.

| what | of | fastest | median | target |
|---|---|---|---|---|
";

const NOT_FLAT: &str = "1 is flat. Pages that are no neighbours are entries of a tree: the more there are, the deeper it is, and the less of \
     it is in the CPU's caches.\n";

fn millions(rate: f64) -> String {
    decimal(Some(rate / 1e6), 1)
}

/// A number of digits only with a comma before each three, and anything else as it is.
fn grouped(text: &str) -> String {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let comma = |at: usize| at > 0 && (text.len() - at).is_multiple_of(3);
    let digits = text.chars().enumerate();
    digits.flat_map(|(at, digit)| comma(at).then_some(',').into_iter().chain([digit])).collect()
}

/// Of a line of divan's the first and the third column: fastest, slowest, median, mean.
fn fastest_and_median(line: &str) -> Option<[f64; 2]> {
    let mut columns = line.trim_start_matches(['│', ' ']).split('│').map(items);
    Some([columns.next()??, columns.nth(1)??])
}

/// `6.962 Mitem/s`
fn items(column: &str) -> Option<f64> {
    let (number, unit) = column.trim().split_once(' ')?;
    let times = match unit {
        "item/s" => 1.0,
        "Kitem/s" => 1e3,
        "Mitem/s" => 1e6,
        "Gitem/s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * times)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Timer precision: 20 ns
fold                 fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ decode                          │               │               │               │         │
│  ╰─ diverged-5.10  7.106 ms      │ 17.23 ms      │ 7.663 ms      │ 7.912 ms      │ 100     │ 100
│                    28.28 Mitem/s │ 11.66 Mitem/s │ 26.23 Mitem/s │ 25.4 Mitem/s  │         │
├─ judge                           │               │               │               │         │
│  ├─ diverged-5.10  28.87 ms      │ 59.51 ms      │ 31.03 ms      │ 37.59 ms      │ 100     │ 100
│  │                 6.962 Mitem/s │ 3.377 Mitem/s │ 6.476 Mitem/s │ 5.347 Mitem/s │         │
│  ╰─ snapshot-6.12  402.1 ms      │ 533.7 ms      │ 421.1 ms      │ 430.2 ms      │ 100     │ 100
│                    497.5 Kitem/s │ 374.8 Kitem/s │ 475.1 Kitem/s │ 465 Kitem/s   │         │
╰─ live                            │               │               │               │         │
   ├─ 10000          22.92 µs      │ 47.14 µs      │ 23.62 µs      │ 26.11 µs      │ 20      │ 20
   │                 22.33 Mitem/s │ 10.86 Mitem/s │ 21.67 Mitem/s │ 19.6 Mitem/s  │         │
   ╰─ 10000000       25.46 µs      │ 63.88 µs      │ 30.64 µs      │ 34.2 µs       │ 20      │ 20
                     20.1 Mitem/s  │ 8.015 Mitem/s │ 16.7 Mitem/s  │ 14.97 Mitem/s │         │

";

    #[test]
    fn a_rate_belongs_to_the_argument_above_it_and_to_its_benchmark() {
        let Rates(rates) = Rates::parse(PRINTED).unwrap();
        let rates = rates.iter().map(|rate| {
            let Rate { bench, argument, fastest, median } = rate;
            format!("{bench} {argument} {fastest:.0} {median:.0}")
        });
        assert_eq!(
            rates.collect::<Vec<_>>(),
            [
                "decode diverged-5.10 28280000 26230000",
                "judge diverged-5.10 6962000 6476000",
                "judge snapshot-6.12 497500 475100",
                "live 10000 22330000 21670000",
                "live 10000000 20100000 16700000",
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_named_and_shown() {
        let error = |text: &str| Rates::parse(text).unwrap_err().to_string();
        let other_unit = error(&PRINTED.replace("6.476 Mitem/s", "6.476 Ritem/s"));
        assert!(
            other_unit.starts_with("not understood: \"│  │                 6.962 M"),
            "{other_unit}"
        );
        let renamed = error(&PRINTED.replace("judge", "verdict"));
        assert!(renamed.contains("told no rate of judge diverged-5.10:\nTimer"), "{renamed}");
        assert!(error("").contains("told no rate of judge diverged-5.10"));
    }

    fn written(printed: &str) -> String {
        let mut page = String::new();
        Rates::parse(printed).unwrap().section(&mut page).unwrap();
        page
    }

    #[test]
    fn the_fastest_of_a_host_in_trouble_is_held_against_the_target() {
        let page = written(PRINTED);
        let (_, table) = page.split_once("|---|---|---|---|---|\n").unwrap();
        assert_eq!(
            table,
            "\
| from a ring's bytes to verdicts | diverged-5.10 | 7.0 | 6.5 | 10 |
| from a ring's bytes to verdicts | snapshot-6.12 | 0.5 | 0.5 | – |
| from a ring's bytes to events | diverged-5.10 | 28.3 | 26.2 | – |
| pages pinned and unpinned beside so many live ones | 10,000 | 22.3 | 21.7 | – |
| pages pinned and unpinned beside so many live ones | 10,000,000 | 20.1 | 16.7 | – |

* Missed by 3.0: diverged-5.10 to verdicts. Decoding takes 25 % of the time, and the rest the ledger, the rules, and what a finding keeps and tells of its pages.
* Beside 10,000,000 live pages, 0.90 of what is done beside 10,000; 1 is flat.
"
        );
    }

    #[test]
    fn a_target_that_is_met_is_not_spoken_of_and_a_slope_is_explained() {
        let met = PRINTED.replace("6.962 M", "12.5 M").replace("20.1 M", "10.1 M");
        let page = written(&met);
        assert!(!page.contains("Missed") && page.ends_with(NOT_FLAT), "{page}");
    }
}
