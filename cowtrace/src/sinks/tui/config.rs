//! The user's configuration of the view: colours, keys, mouse. docs/tui.md has the whole of it.

use std::{
    collections::BTreeMap,
    env, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{keys::Keys, palette::Palette};
use crate::{errors, files};

/// How the view looks and which keys it takes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys.
    pub keys: Keys,
    /// The colours.
    pub palette: Palette,
    /// Whether clicks and the wheel come to us. The terminal's own selection then wants Shift.
    pub mouse: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { keys: Keys::default(), palette: Palette::new(true), mouse: true }
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    mouse: Option<bool>,
    keys: BTreeMap<String, Vec<String>>,
    theme: BTreeMap<String, String>,
}

impl Config {
    /// Reads what applies to the user: the file that `COWTRACE_CONFIG` names, else the user's own, else the
    /// machine's. None of them has to be there.
    pub fn load() -> anyhow::Result<Self> {
        let named = env::var_os("COWTRACE_CONFIG").map(PathBuf::from);
        let places = match &named {
            Some(path) => vec![path.clone()],
            None => usual_places(),
        };
        // https://no-color.org
        let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        for path in places {
            match files::believed(&path) {
                Ok(text) => {
                    let config = Self::parse(&text, colours);
                    return config.map_err(|wrong| errors::config(&path, &wrong));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
                Err(error) => return Err(errors::config(&path, &error.to_string())),
            }
        }
        Ok(Self { palette: Palette::new(colours), ..Self::default() })
    }

    /// Reads a file's text; what is wrong with it.
    pub fn parse(text: &str, colours: bool) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut config = Self { palette: Palette::new(colours), ..Self::default() };
        config.mouse = file.mouse.unwrap_or(config.mouse);
        for (id, presses) in &file.keys {
            config.keys.rebind(id, presses)?;
        }
        for (what, style) in &file.theme {
            config.palette.restyle(what, style)?;
        }
        Ok(config)
    }
}

fn usual_places() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let own = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or(home);
    let folders = own.into_iter().chain([PathBuf::from("/etc")]);
    folders.map(|folder| folder.join("cowtrace").join("tui.toml")).collect()
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::{finding::Verdict, sinks::tui::keys::Action};

    fn action(config: &Config, code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        config.keys.action(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn keys_are_put_in_place_of_others_and_taken_from_where_they_were() {
        let text = "[keys]\nquit = [\"ctrl-q\", \"f10\"]\nfilter = [\"/\"]\n";
        let config = Config::parse(text, true).expect("right");
        let none = KeyModifiers::NONE;
        assert_eq!(action(&config, KeyCode::F(10), none), Some(Action::Quit));
        assert_eq!(action(&config, KeyCode::Char('q'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(action(&config, KeyCode::Char('q'), none), None);
        assert_eq!(action(&config, KeyCode::Char('/'), none), Some(Action::Filter));
        assert_eq!(config.keys.name(Action::Search), "");
    }

    #[test]
    fn colours_are_those_asked_for_unless_none_are_wanted() {
        let text = "[theme]\nlost = \"bold #ff8800 on black\"\n";
        let plain = Config::parse("", true).expect("right");
        let config = Config::parse(text, true).expect("right");
        assert_ne!(config.palette.verdict(Verdict::Lost), plain.palette.verdict(Verdict::Lost));
        let without = Config::parse(text, false).expect("right");
        assert_eq!(without.palette.verdict(Verdict::Lost).fg, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_do() {
        let wrong = |text: &str| Config::parse(text, true).expect_err(text);
        assert!(wrong("[keys]\nleave = [\"q\"]").contains("nothing is called \"leave\""));
        assert!(wrong("[keys]\nquit = [\"hyper-q\"]").contains("no key \"hyper-q\""));
        assert!(wrong("[theme]\nlost = \"pinkish\"").contains("pinkish"));
        assert!(wrong("[theme]\nfound = \"red\"").contains("lost"));
        assert!(wrong("mouse = 3").contains("mouse"));
        assert!(wrong("mice = true").contains("mice"));
    }
}
