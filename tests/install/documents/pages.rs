//! The documents, taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use devenv::paths::repository;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A block of code, with the first word beside its fence; one that is indented has none.
pub struct Block {
    pub line: usize,
    pub language: String,
    pub text: String,
}

/// A stretch of code within a sentence, or the destination of a link.
pub struct Span {
    pub line: usize,
    pub text: String,
}

pub struct Page {
    /// From the root of the repository.
    pub path: PathBuf,
    /// What a link may name behind `#`.
    pub anchors: BTreeSet<String>,
    pub links: Vec<Span>,
    pub blocks: Vec<Block>,
    /// Code within sentences, by the heading of the second rank that it stands under.
    pub code: BTreeMap<String, Vec<Span>>,
}

impl Page {
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// The words in code of a section, or of the whole page: field names, values, options.
    pub fn words(&self, section: Option<&str>) -> BTreeSet<&str> {
        let within = |heading: &str| section.is_none_or(|wanted| wanted == heading);
        let spans = self.code.iter().filter(|(heading, _)| within(heading)).flat_map(|(_, spans)| spans);
        spans.flat_map(|span| span.text.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)))).collect()
    }
}

/// Every page: the README, the book, and what lies beside the manifests and the workflows.
pub fn all() -> Result<Vec<Page>> {
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in ["docs", "deploy", ".github"] {
        below(Path::new(folder), &mut paths)?;
    }
    paths.sort();
    paths.into_iter().map(read).collect()
}

/// A page by its path from the root of the repository.
pub fn page(path: impl AsRef<Path>) -> Result<Page> {
    read(path.as_ref().to_path_buf())
}

fn below(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let full = repository().join(folder);
    for entry in std::fs::read_dir(&full).with_context(|| format!("no folder {}", full.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            below(&path, paths)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(path: PathBuf) -> Result<Page> {
    let text = std::fs::read_to_string(repository().join(&path)).with_context(|| format!("no {}", path.display()))?;
    Ok(parse(path, &text))
}

pub fn parse(path: PathBuf, text: &str) -> Page {
    let mut page =
        Page { path, anchors: BTreeSet::new(), links: Vec::new(), blocks: Vec::new(), code: BTreeMap::new() };
    let line = |range: &Range<usize>| text[..range.start].matches('\n').count() + 1;
    let (mut heading, mut block): (Option<String>, Option<Block>) = (None, None);
    let mut section = String::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(rank)) => {
                let words = heading.take().unwrap_or_default();
                page.anchors.insert(anchor(&words, &page.anchors));
                if rank as usize == 2 {
                    section = words;
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(Span { line: line(&range), text: dest_url.into_string() });
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',']).next().unwrap_or_default().to_owned(),
                    CodeBlockKind::Indented => String::new(),
                };
                block = Some(Block { line: line(&range), language, text: String::new() });
            }
            Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
            Event::Code(code) => {
                if let Some(words) = &mut heading {
                    words.push_str(&code);
                }
                let span = Span { line: line(&range), text: code.into_string() };
                page.code.entry(section.clone()).or_default().push(span);
            }
            Event::Text(words) => {
                if let Some(block) = &mut block {
                    block.text.push_str(&words);
                } else if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            _ => {}
        }
    }
    page
}

/// As forges and mdBook make it: letters, digits, `-` and `_`; blanks as `-`; a number behind one that was there before.
fn anchor(heading: &str, taken: &BTreeSet<String>) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace() || "-_".contains(*c));
    let plain: String = kept.map(|c| if c.is_whitespace() { '-' } else { c }).collect();
    let numbered = (1..).map(|number| format!("{plain}-{number}"));
    std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# One `two`, three\n\n## spec\n\nSee [there](x.md#y) and `a.b[]`.\n\n1. Do:\n   ```sh\n   lanyard plan \\\n     -f x\n   ```\n\n## spec\n\n    kubectl get x\n";
    let page = parse("docs/x.md".into(), text);
    assert_eq!(page.anchors.iter().collect::<Vec<_>>(), ["one-two-three", "spec", "spec-1"]);
    assert_eq!((page.links[0].line, page.links[0].text.as_str()), (5, "x.md#y"));
    let blocks: Vec<_> = page.blocks.iter().map(|it| (it.line, it.language.as_str(), it.text.as_str())).collect();
    assert_eq!(blocks, [(8, "sh", "lanyard plan \\\n  -f x\n"), (15, "", "kubectl get x\n")]);
    assert!(page.words(Some("spec")).contains("b") && page.words(None).contains("two"));
}
