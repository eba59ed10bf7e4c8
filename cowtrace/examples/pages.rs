//! Writes the man pages and shell completions into a folder, for packages: `cargo run --example pages -- FOLDER`.
//!
//! They are made of the command line that cowtrace parses, so they cannot say anything else. An example, as what
//! it depends on is then in no binary that anybody runs.

use std::{env, io, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use cowtrace::cli::Cli;

/// The shells that packages have a folder for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

/// What stands at the foot of each page.
const SOURCE: &str = concat!("cowtrace ", env!("CARGO_PKG_VERSION"));

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: pages FOLDER"))?;
    write_all(Path::new(&folder))
}

fn write_all(folder: &Path) -> io::Result<()> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    for command in shown.chain([&cli]) {
        let page = Man::new(command.clone()).source(SOURCE).manual("cowtrace");
        page.generate_to(folder)?;
    }
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "cowtrace", folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process};

    use super::*;

    /// All files, in a folder that the test removes.
    fn written(test: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("cowtrace-{test}-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        write_all(&folder).expect("pages");
        folder
    }

    /// The commands that users are told of.
    fn commands() -> Vec<String> {
        let cli = Cli::command();
        let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
        shown.map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn each_command_has_a_man_page_with_its_options() {
        let folder = written("man");
        let commands = commands();
        assert!(commands.len() > 10, "{commands:?}");
        for command in commands {
            let page = folder.join(format!("cowtrace-{command}.1"));
            let text = fs::read_to_string(&page).expect("its page");
            assert!(text.contains(".SH SYNOPSIS") && text.contains(r"\-\-help"), "{text}");
        }
        assert!(!folder.join("cowtrace-provoke.1").exists());
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn each_shell_completes_each_command() {
        let folder = written("completions");
        for file in ["cowtrace.bash", "cowtrace.fish", "_cowtrace"] {
            let script = fs::read_to_string(folder.join(file)).expect("its completions");
            let missing: Vec<_> =
                commands().into_iter().filter(|command| !script.contains(command)).collect();
            assert!(missing.is_empty(), "{file}: {missing:?}");
        }
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
