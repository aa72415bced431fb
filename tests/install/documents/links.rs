//! Links lead somewhere, and the book has every page.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};
use devenv::paths::repository;

use super::count;
use super::pages::{Page, all, page};

fn is_elsewhere(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:")
}

/// Without `..`, which the file system would follow out of links.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What is wrong with a link, if anything.
fn wrong(from: &Page, link: &str, pages: &[Page]) -> Option<String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let folder = from.path.parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() { from.path.clone() } else { plain(&folder.join(file)) };
    if !repository().join(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let anchor = anchor?;
    let Some(there) = pages.iter().find(|page| page.path == path) else {
        return Some(format!("{} has no headings", path.display()));
    };
    (!there.anchors.contains(anchor)).then(|| format!("{} has no heading {anchor}", path.display()))
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let pages = all()?;
    let links = || pages.iter().flat_map(|page| page.links.iter().map(move |link| (page, link)));
    let inward = || links().filter(|(_, link)| !is_elsewhere(&link.text));
    let broken: Vec<String> = inward()
        .filter_map(|(page, link)| Some(format!("{}: {}", page.at(link.line), wrong(page, &link.text, &pages)?)))
        .collect();
    count(&format!("{} pages, {} links within the repository", pages.len(), inward().count()));
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ensure!(inward().count() > 100, "hardly a link was found");

    let readme = page("README.md")?;
    for bad in ["docs/nowhere.md", "#nowhere", "docs/cli.md#nowhere", "Cargo.toml#x"] {
        ensure!(wrong(&readme, bad, &pages).is_some(), "{bad} is taken for a link that leads somewhere");
    }
    Ok(())
}

#[test]
fn the_book_has_every_page_once() -> Result<()> {
    let summary = page("docs/SUMMARY.md")?;
    let listed: Vec<&str> = summary.links.iter().map(|link| link.text.as_str()).collect();
    let once: BTreeSet<String> = listed.iter().map(|page| format!("docs/{page}")).collect();
    ensure!(once.len() == listed.len(), "a page is listed twice");
    let there: BTreeSet<String> = all()?
        .iter()
        .filter(|page| page.path.starts_with("docs") && page.path != Path::new("docs/SUMMARY.md"))
        .map(|page| page.path.display().to_string())
        .collect();
    ensure!(once == there, "listed and not there, or the other way: {:?}", once.symmetric_difference(&there));
    Ok(())
}
