//! Reader of `package.xml`: the name of a package and its dependencies (REP 127, 140, 149: formats 1, 2, 3).

use std::ops::Range;

use camino::Utf8PathBuf;
use roxmltree::{Document, Node, TextPos};

use super::condition::{self, Variables};
use super::diagnostic::{Mistake, Mistakes, Source};
use super::names;

/// A `package.xml`, with the places of its content.
#[derive(Debug)]
pub(super) struct Manifest {
    pub source: Source,
    /// Directory of the package, relative to `src/`.
    pub dir: Utf8PathBuf,
    pub name: String,
    /// Place of the name.
    pub span: Range<usize>,
    /// All dependencies, from this workspace or not.
    pub depends: Vec<Depend>,
    /// Groups that the package is a member of.
    pub groups: Vec<String>,
    /// True if some of these have conditions.
    pub is_conditional: bool,
    /// True if the package has no `package.xml`.
    pub is_plain: bool,
}

/// A dependency of a package.
#[derive(Debug)]
pub(super) struct Depend {
    pub kind: Kind,
    /// Name of the package or, for [`Kind::Group`], of the group.
    pub name: String,
    pub span: Range<usize>,
}

/// Purpose of a dependency. A tag with several purposes becomes several dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Needed to build the package itself.
    Build,
    /// Needed to build packages that depend on this one.
    Export,
    /// Needed to run the package.
    Run,
    /// Needed to test the package.
    Test,
    /// All members of a group are needed to build and run the package.
    Group,
}

/// Dependency tags: name, first and last format with the tag, purposes.
const TAGS: [(&str, u8, u8, &[Kind]); 11] = [
    ("depend", 2, 3, &[Kind::Build, Kind::Export, Kind::Run]),
    ("build_depend", 1, 3, &[Kind::Build]),
    ("build_export_depend", 2, 3, &[Kind::Export]),
    ("buildtool_depend", 1, 3, &[Kind::Build]),
    ("buildtool_export_depend", 2, 3, &[Kind::Export]),
    ("exec_depend", 2, 3, &[Kind::Run]),
    ("run_depend", 1, 1, &[Kind::Export, Kind::Run]),
    ("test_depend", 1, 3, &[Kind::Test]),
    ("doc_depend", 2, 3, &[]),
    ("group_depend", 3, 3, &[Kind::Group]),
    ("member_of_group", 3, 3, &[]),
];

impl Manifest {
    /// Parses `source`, the `package.xml` in `dir`; returns all mistakes if there are any.
    pub(super) fn parse(source: Source, dir: Utf8PathBuf, variables: &Variables) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let parsed = match Document::parse(&source.text) {
            Ok(document) => read(&source, &document, variables, &mut mistakes),
            Err(error) => {
                mistakes.add(malformed(&source, &error));
                None
            }
        };
        match parsed {
            Some(parsed) if mistakes.is_empty() => Ok(Self {
                name: parsed.name,
                span: parsed.span,
                depends: parsed.depends,
                groups: parsed.groups,
                is_conditional: parsed.is_conditional,
                is_plain: false,
                source,
                dir,
            }),
            _ => Err(mistakes),
        }
    }

    /// Names of the dependencies of one kind.
    pub(super) fn depends_on(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.depends.iter().filter(move |depend| depend.kind == kind).map(|depend| depend.name.as_str())
    }
}

struct Parsed {
    name: String,
    span: Range<usize>,
    depends: Vec<Depend>,
    groups: Vec<String>,
    is_conditional: bool,
}

fn read(
    source: &Source,
    document: &Document<'_>,
    variables: &Variables,
    mistakes: &mut Mistakes,
) -> Option<Parsed> {
    let root = document.root_element();
    if !root.has_tag_name("package") {
        let message =
            format!("this is not a package.xml: the root element is `<{}>`", root.tag_name().name());
        mistakes
            .add(source.mistake(tag_span(root), message).help("write `<package format=\"3\">…</package>`"));
        return None;
    }
    let format = format(source, root, mistakes)?;
    let (name, span) = package_name(source, root, mistakes)?;
    let mut parsed = Parsed { name, span, depends: Vec::new(), groups: Vec::new(), is_conditional: false };
    for node in root.children().filter(Node::is_element) {
        let tag = node.tag_name().name();
        let known = TAGS.iter().find(|(name, ..)| *name == tag);
        let in_format = known.filter(|(_, first, last, _)| (*first..=*last).contains(&format));
        let Some((.., kinds)) = in_format else {
            if known.is_some() || tag.ends_with("_depends") || tag.ends_with("_depend") || tag == "depends" {
                mistakes.add(unknown_tag(source, node, format));
            }
            continue;
        };
        let condition = node.attribute("condition");
        parsed.is_conditional |= condition.is_some();
        if condition.is_some_and(|text| !condition::holds(text, variables)) {
            continue;
        }
        let Some((text, span)) = text(node) else {
            mistakes.add(
                source
                    .mistake(tag_span(node), format!("`<{tag}>` is empty"))
                    .help("write a name in the tag, or remove the tag"),
            );
            continue;
        };
        if tag == "member_of_group" {
            parsed.groups.push(text.to_owned());
        }
        let depend = |kind: &Kind| Depend { kind: *kind, name: text.to_owned(), span: span.clone() };
        parsed.depends.extend(kinds.iter().map(depend));
    }
    Some(parsed)
}

/// Number of the package.xml format.
fn format(source: &Source, root: Node<'_, '_>, mistakes: &mut Mistakes) -> Option<u8> {
    match root.attribute("format").unwrap_or("1").trim() {
        "1" => Some(1),
        "2" => Some(2),
        "3" => Some(3),
        other => {
            let span = root.attribute_node("format").map_or(tag_span(root), |attribute| attribute.range());
            let mistake =
                source.mistake(span, format!("unknown package.xml format `{}`", other.escape_debug()));
            mistakes.add(mistake.help("the formats are 1, 2 and 3; write `format=\"3\"`"));
            None
        }
    }
}

fn package_name(
    source: &Source,
    root: Node<'_, '_>,
    mistakes: &mut Mistakes,
) -> Option<(String, Range<usize>)> {
    let mut found = root.children().filter(|node| node.has_tag_name("name"));
    let Some(node) = found.next() else {
        mistakes
            .add(source.mistake(tag_span(root), "the package has no `<name>`").help("add `<name>…</name>`"));
        return None;
    };
    if let Some(second) = found.next() {
        mistakes
            .add(source.mistake(tag_span(second), "the package has two names").help("remove one `<name>`"));
    }
    match text(node) {
        Some((name, span)) if names::is_package(name) => Some((name.to_owned(), span)),
        other => {
            let (name, span) = other.unwrap_or(("", tag_span(node)));
            let message = format!("`{}` is not a valid package name", name.escape_debug());
            let help = "use lower-case letters, digits, `_` and `-`, beginning with a letter (REP 144)";
            mistakes.add(source.mistake(span, message).help(help));
            None
        }
    }
}

fn unknown_tag(source: &Source, node: Node<'_, '_>, format: u8) -> Mistake {
    let tag = node.tag_name().name();
    let known =
        TAGS.iter().filter(|(_, first, last, _)| (*first..=*last).contains(&format)).map(|(name, ..)| *name);
    let message = format!("format {format} of package.xml has no `<{tag}>`");
    let other = TAGS.iter().find(|(name, ..)| *name == tag);
    let help = match other {
        Some((_, _, 1, _)) => {
            "write `<exec_depend>`, and also `<build_export_depend>` if its headers are used".to_owned()
        }
        Some((_, first, ..)) => format!("set `format=\"{}\"` in `<package>`", (*first).max(3)),
        None => names::instead("tags", tag, known),
    };
    source.mistake(tag_span(node), message).help(help)
}

/// Place of the opening tag of a node.
fn tag_span(node: Node<'_, '_>) -> Range<usize> {
    let range = node.range();
    let whole = &node.document().input_text()[range.clone()];
    range.start..range.start + whole.find('>').map_or(whole.len(), |end| end + 1)
}

/// Trimmed text of a node, and its place.
fn text<'a>(node: Node<'a, '_>) -> Option<(&'a str, Range<usize>)> {
    let inner = node.children().find(Node::is_text)?;
    let text = inner.text()?;
    let start = inner.range().start + (text.len() - text.trim_start().len());
    let trimmed = text.trim();
    (!trimmed.is_empty()).then_some((trimmed, start..start + trimmed.len()))
}

fn malformed(source: &Source, error: &roxmltree::Error) -> Mistake {
    let at = error.pos();
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at {at}")).unwrap_or(&text);
    let start = offset(&source.text, at);
    source
        .mistake(start..start, format!("invalid XML: {text}"))
        .help("fix the XML; `xmllint --noout` checks the file")
}

fn offset(text: &str, at: TextPos) -> usize {
    let before_line: usize =
        text.split_inclusive('\n').take(at.row.saturating_sub(1) as usize).map(str::len).sum();
    let column = at.col.saturating_sub(1) as usize;
    let line = &text[before_line..];
    before_line + line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_packages_are_read_or_refused() {
        let package = br#"<?xml version="1.0"?>
<!-- of the lab -->
<package format="3">
  <name>navigation</name>
  <depend condition="$ROS_VERSION == 2">msgs</depend>
  <exec_depend> tf2 &amp; co </exec_depend><group_depend>lidars</group_depend>
  <run_depends>x</run_depends><description><![CDATA[ it <drives> ]]></description>
</package>"#;
        let entities =
            br#"<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><package><name>&b;</name></package>"#;
        fuzz("package.xml", 800, &[package, entities], |bytes| {
            let source = Source { shown: "package.xml".to_owned(), text: text(bytes), is_secret: false };
            match Manifest::parse(source, "navigation".into(), &Variables::default()) {
                Ok(manifest) => assert!(names::is_package(&manifest.name), "{:?}", manifest.name),
                Err(mistakes) => drop(mistakes.into_error().to_string()),
            }
        });
    }
}
