//! Which files are read, in an order that never changes.
use super::place::{Place, Problem};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Standard input, as a path.
pub const STDIN: &str = "-";

/// Far more than a person writes, and far less than a machine has.
const LONGEST_FILE: u64 = 256 * 1024 * 1024;

/// Directories within directories: a loop of links ends here.
const DEEPEST: usize = 64;

/// A file's text, under the name that people gave it.
pub struct File {
    pub name: Arc<str>,
    pub text: String,
}

/// All files of these paths, each once, or why one cannot be read.
pub fn sources(paths: &[PathBuf]) -> Vec<Result<File, Problem>> {
    let mut names = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == STDIN {
            sources.push(stdin());
        } else if let Err(problem) = walk(path, true, 0, &mut names) {
            sources.push(Err(problem));
        }
        for name in names.drain(..) {
            sources.push(file(&name));
        }
    }
    sources
}

fn walk(path: &Path, is_named: bool, depth: usize, names: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        if is_named || is_manifest(path) {
            names.push(path.to_owned());
        }
        return Ok(());
    }
    if depth > DEEPEST {
        return Err(Problem::new(
            whole(path),
            "lies too deep below the directory that was named: do links lead in a circle?",
        ));
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| unreadable(path, &error))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden {
            walk(&entry.path(), false, depth + 1, names)?;
        }
    }
    Ok(())
}

/// By its name: whatever else lies in a directory is none of ours.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn file(path: &Path) -> Result<File, Problem> {
    let read = || {
        let file = std::fs::File::open(path)?;
        text(file)
    };
    let text = read().map_err(|error| unreadable(path, &error))?;
    Ok(File { name: name(path), text })
}

fn stdin() -> Result<File, Problem> {
    let text = text(io::stdin().lock()).map_err(|error| unreadable(Path::new("standard input"), &error))?;
    Ok(File { name: "standard input".into(), text })
}

fn text(source: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other("it is longer than 256 MiB"));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(whole(path), format!("cannot be read: {error}"))
}

fn whole(path: &Path) -> Place {
    Place { file: name(path), line: 0, column: 0 }
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<String> {
        let shown = |source| match source {
            Ok(File { name, text }) => format!("{name}: {text}"),
            Err(problem) => format!("{problem}"),
        };
        sources(&[path.to_owned()]).into_iter().map(shown).collect()
    }

    #[test]
    fn a_directory_is_read_to_its_depths_in_order_and_without_what_is_hidden() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b.yaml", "a/z.yml", "a/y.JSON", "a/readme.md", ".git/config.yaml", "c.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, name).expect("written");
        }
        let base = dir.path().display();
        let expected: Vec<String> =
            ["a/y.JSON", "a/z.yml", "b.yaml"].iter().map(|name| format!("{base}/{name}: {name}")).collect();
        assert_eq!(read(dir.path()), expected);
        assert_eq!(read(&dir.path().join("c.txt")), [format!("{base}/c.txt: c.txt")], "named, it is read");
    }

    #[test]
    fn what_is_not_there_and_what_leads_in_a_circle_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("none.yaml");
        assert!(read(&missing)[0].contains("none.yaml: cannot be read"), "{:?}", read(&missing));
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).expect("linked");
        assert_eq!(read(dir.path()).len(), 1);
    }
}
