//! Picking the newest kernel package of a series by its name.

use std::cmp::Ordering;

use super::Flavour;

/// The version part of the newest matching image package, such as
/// `6.12.107+deb13-cloud-amd64`. Prefixes are tried in order.
pub fn newest<'a>(packages: &[&'a str], series: &[&str], flavour: Flavour) -> Option<&'a str> {
    series.iter().find_map(|prefix| {
        packages
            .iter()
            .filter_map(|package| package.strip_prefix("linux-image-"))
            .filter(|version| version.starts_with(prefix) && is_flavour(version, flavour))
            .max_by(|a, b| compare(a, b))
    })
}

fn is_flavour(version: &str, flavour: Flavour) -> bool {
    match flavour {
        Flavour::Cloud => version.ends_with("-cloud-amd64"),
        Flavour::Full => {
            version.ends_with("-amd64")
                && !version.ends_with("-cloud-amd64")
                && !version.ends_with("-rt-amd64")
        }
    }
}

/// Compares runs of digits as numbers: `6.12.107` is newer than `6.12.94`.
fn compare(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b))
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGES: [&str; 7] = [
        "linux-image-5.10.0-46-amd64",
        "linux-image-6.1.0-50-cloud-amd64",
        "linux-image-6.12.94+deb13-cloud-amd64",
        "linux-image-6.12.107+deb13-cloud-amd64",
        "linux-image-6.12.107+deb13-amd64",
        "linux-image-6.12.107+deb13-rt-amd64",
        "linux-image-7.4.1+deb13-cloud-amd64",
    ];

    #[test]
    fn the_newest_is_by_number_not_by_letter() {
        let found = newest(&PACKAGES, &["6.12."], Flavour::Cloud);
        assert_eq!(found, Some("6.12.107+deb13-cloud-amd64"));
    }

    #[test]
    fn the_full_flavour_is_neither_cloud_nor_realtime() {
        let found = newest(&PACKAGES, &["6.12."], Flavour::Full);
        assert_eq!(found, Some("6.12.107+deb13-amd64"));
    }

    #[test]
    fn a_series_is_not_the_prefix_of_another() {
        let found = newest(&PACKAGES, &["6.1."], Flavour::Cloud);
        assert_eq!(found, Some("6.1.0-50-cloud-amd64"));
    }

    #[test]
    fn a_series_that_left_the_archive_gives_way_to_its_successor() {
        let found = newest(&PACKAGES, &["7.3.", "7."], Flavour::Cloud);
        assert_eq!(found, Some("7.4.1+deb13-cloud-amd64"));
    }
}
