//! Files that somebody else may have had a hand in: where root writes, and what root goes by.
//!
//! Promise: root follows no link, and neither writes nor believes what stands where anybody could put another file in its
//! place. Who is not root can only harm himself, and may have his dotfiles as links.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{errors, sys};

/// Whom others must not deceive.
const ROOT: u32 = 0;
/// Anybody may write; in a folder, remove and rename as well, unless it is sticky.
const ANYBODY_WRITES: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A new file for its owner only: recordings and what is made of them have names of processes and functions. An existing
/// one is not overwritten, a link not followed.
pub fn create(path: &Path) -> io::Result<File> {
    refuse_open(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Refuses what [`create`] would refuse, as far as it can be known before.
pub fn can_create(path: &Path) -> io::Result<()> {
    refuse_open(path)?;
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    fs::metadata(folder(path)).map(drop)
}

/// A file whose content is replaced, or a new one.
pub fn replace(path: &Path) -> io::Result<File> {
    refuse_open(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// What a file says that decides what we do.
pub fn believed(path: &Path) -> io::Result<String> {
    believed_by(path, sys::effective_uid())
}

fn believed_by(path: &Path, user: u32) -> io::Result<String> {
    let link = if user == ROOT { libc::O_NOFOLLOW } else { 0 };
    let mut file = File::options().read(true).custom_flags(link).open(path)?;
    let found = file.metadata()?;
    if user == ROOT && found.uid() != ROOT {
        return Err(errors::owned_by(found.uid()));
    }
    if user == ROOT && found.mode() & ANYBODY_WRITES != 0 {
        return Err(errors::anybody_writes());
    }
    refuse_open_folder(path, user)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The folder that a file is in.
pub fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// Refuses, for root, a file that anybody could put another one in the place of.
pub fn refuse_open(file: &Path) -> io::Result<()> {
    refuse_open_folder(file, sys::effective_uid())
}

/// `/tmp` is sticky, and does.
fn refuse_open_folder(file: &Path, user: u32) -> io::Result<()> {
    let folder = folder(file);
    // One that is not there says so when it is written to.
    let is_open = fs::metadata(&folder)
        .is_ok_and(|found| found.mode() & (ANYBODY_WRITES | STICKY) == ANYBODY_WRITES);
    if user == ROOT && is_open { Err(errors::open_folder(&folder)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        os::unix::fs::{PermissionsExt as _, symlink},
        process,
    };

    use super::*;

    /// A folder of this mode with a file `x` in it, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str, mode: u32) -> Self {
            let path = env::temp_dir().join(format!("cowtrace-files-{test}-{}", process::id()));
            fs::create_dir_all(&path).expect("a folder");
            fs::write(path.join("x"), "said").expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn root_neither_writes_nor_believes_where_anybody_may_put_another_file() {
        let open = Folder::new("open", 0o777);
        let file = open.0.join("x");
        let error = refuse_open_folder(&file, ROOT).expect_err("open to all").to_string();
        assert!(error.contains("anybody may put another file"), "{error}");
        refuse_open_folder(&file, 1000).expect("somebody else's own affair");
        let sticky = Folder::new("sticky", 0o1777);
        refuse_open_folder(&sticky.0.join("x"), ROOT).expect("as /tmp is");
    }

    #[test]
    fn nobody_is_kept_from_his_own_links_but_root() {
        let folder = Folder::new("link", 0o755);
        let link = folder.0.join("link");
        symlink(folder.0.join("x"), &link).expect("a link");
        assert_eq!(believed_by(&link, 1000).expect("followed"), "said");
        let refused = believed_by(&link, ROOT).map_err(|error| error.raw_os_error());
        assert_eq!(refused, Err(Some(libc::ELOOP)));
    }

    #[test]
    fn an_existing_file_and_a_link_are_not_overwritten() {
        let folder = Folder::new("create", 0o755);
        let (file, link) = (folder.0.join("x"), folder.0.join("link"));
        symlink(folder.0.join("elsewhere"), &link).expect("a link");
        for path in [&file, &link] {
            assert!(can_create(path).is_err());
            let created = create(path).map(|_| ()).map_err(|error| error.kind());
            assert_eq!(created, Err(io::ErrorKind::AlreadyExists));
        }
        let replaced = replace(&link).map(|_| ()).map_err(|error| error.raw_os_error());
        assert_eq!(replaced, Err(Some(libc::ELOOP)));
        assert!(!folder.0.join("elsewhere").exists());
    }

    #[test]
    fn what_cannot_be_created_is_known_before() {
        let folder = Folder::new("before", 0o755);
        can_create(&folder.0.join("new")).expect("nothing is there");
        assert!(can_create(&folder.0.join("none/new")).is_err());
    }

    #[test]
    fn a_file_that_anybody_may_write_decides_nothing_for_root() {
        let folder = Folder::new("writable", 0o755);
        let file = folder.0.join("x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("its mode");
        assert!(believed_by(&file, ROOT).is_err());
        assert_eq!(believed_by(&file, 1000).expect("his own"), "said");
    }
}
