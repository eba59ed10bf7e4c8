//! What the kernel's log says about its health.

/// Something that went wrong in the guest's kernel, worst first.
const SIGNS: [(&str, &str); 9] = [
    ("Kernel panic", "kernel panic"),
    ("Oops:", "kernel oops"),
    ("BUG: unable to handle", "kernel oops"),
    ("kernel BUG at", "kernel BUG"),
    ("general protection fault", "kernel oops"),
    ("soft lockup", "soft lock-up"),
    ("hard LOCKUP", "hard lock-up"),
    ("blocked for more than", "hung task"),
    ("detected stalls on CPUs", "stalled CPU"),
];

/// The worst trouble in a log, with the line that says so.
pub fn trouble(log: &str) -> Option<String> {
    SIGNS.iter().find_map(|(sign, name)| {
        let line = log.lines().find(|line| line.contains(sign))?;
        Some(format!("{name}: {}", line.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_worse_than_the_oops_before_it() {
        let log =
            "[ 1.0] Oops: 0002 [#1] SMP\n[ 1.1] Kernel panic - not syncing: Fatal exception\r\n";
        let found = trouble(log).unwrap();
        assert_eq!(found, "kernel panic: [ 1.1] Kernel panic - not syncing: Fatal exception");
    }

    #[test]
    fn an_ordinary_log_has_no_trouble() {
        assert_eq!(trouble("[ 0.1] Loaded X.509 cert\n"), None);
    }
}
