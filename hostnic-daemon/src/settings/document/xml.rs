//! Keys and values of an XML file.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{BadSyntax, position};
use crate::settings::raw::Raw;

/// Attributes of a key have no meaning that anybody agreed on; those of the root are namespaces and schemas.
fn without_attributes(start: &BytesStart<'_>, depth: usize) -> bool {
    depth == 0 || start.attributes().next().is_none()
}

pub(super) fn read(text: &str) -> Result<Vec<(String, Raw)>, BadSyntax> {
    let mut reader = Reader::from_str(text);
    let mut builder = Builder::default();
    loop {
        let at = reader.buffer_position();
        let broken = |offset: u64| position(text, usize::try_from(offset).unwrap_or(usize::MAX));
        let event = reader.read_event().map_err(|_| broken(reader.error_position()))?;
        if event == Event::Eof {
            return builder.finish().ok_or_else(|| broken(at));
        }
        builder.take(event).ok_or_else(|| broken(at))?;
    }
}

/// What has been read of a document.
#[derive(Default)]
struct Builder {
    entries: Vec<(String, Raw)>,
    depth: usize,
    roots: usize,
    /// Of the element of a key: its text, and the items in it.
    text: String,
    items: Vec<String>,
    nested: bool,
}

impl Builder {
    /// Takes what comes next; `None` where it cannot be there.
    fn take(&mut self, event: Event<'_>) -> Option<()> {
        match event {
            Event::Start(start) => self.open(&start),
            Event::Empty(start) => {
                self.open(&start)?;
                self.close();
                Some(())
            }
            Event::End(_) => {
                self.close();
                Some(())
            }
            Event::Text(text) => self.text(&text),
            Event::CData(text) => self.text(&text),
            Event::GeneralRef(reference) => self.text(&resolved(&reference)?),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Some(()),
            // Its entities would have to be resolved.
            Event::DocType(_) | Event::Eof => None,
        }
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Option<()> {
        if !without_attributes(start, self.depth) {
            return None;
        }
        match self.depth {
            0 => self.roots += 1,
            1 => {
                let name = start.name().as_ref().to_owned();
                self.entries.push((name, Raw::Nothing));
                (self.text, self.items, self.nested) = (String::new(), Vec::new(), false);
            }
            2 => self.items.push(String::new()),
            _ => self.nested = true,
        }
        self.depth += 1;
        Some(())
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth != 1 {
            return;
        }
        let blank = self.text.trim().is_empty();
        let value = if self.nested || !(blank || self.items.is_empty()) {
            Raw::Nested
        } else if self.items.is_empty() {
            Raw::text(&self.text)
        } else {
            Raw::list(std::mem::take(&mut self.items))
        };
        if let Some((_, slot)) = self.entries.last_mut() {
            *slot = value;
        }
    }

    fn text(&mut self, text: &str) -> Option<()> {
        match (self.depth, self.items.last_mut()) {
            (0 | 1, _) => return text.trim().is_empty().then_some(()),
            (2, _) => self.text.push_str(text),
            (_, Some(item)) => item.push_str(text),
            (_, None) => {}
        }
        Some(())
    }

    /// The entries, of which those with one name are one list.
    fn finish(self) -> Option<Vec<(String, Raw)>> {
        if self.roots != 1 || self.depth != 0 {
            return None;
        }
        let mut joined: Vec<(String, Raw)> = Vec::new();
        for (name, value) in self.entries {
            match joined.iter_mut().find(|(known, _)| *known == name) {
                Some((_, first)) => *first = together(std::mem::replace(first, Raw::Nothing), value),
                None => joined.push((name, value)),
            }
        }
        Some(joined)
    }
}

fn together(first: Raw, second: Raw) -> Raw {
    let list = |raw| match raw {
        Raw::Nothing => Some(Vec::new()),
        Raw::Text(text) => Some(vec![text]),
        Raw::List(list) => Some(list),
        Raw::Keys(_) | Raw::Nested => None,
    };
    match (list(first), list(second)) {
        (Some(first), Some(second)) => Raw::list([first, second].concat()),
        _ => Raw::Nested,
    }
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Some(character.to_string()),
        Ok(None) => resolve_xml_entity(reference).map(str::to_owned),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(inside: &str) -> Option<Raw> {
        read(&format!("<a><b>{inside}</b></a>")).ok()?.pop().map(|(_, value)| value)
    }

    #[test]
    fn a_list_may_be_elements_inside() {
        let list = Raw::List(vec!["x".into(), "y".into()]);
        assert_eq!(value("\n <item>x</item>\n <item>y</item>\n"), Some(list));
        assert_eq!(value("x <item>y</item>"), Some(Raw::Nested));
        assert_eq!(value("<item><more/></item>"), Some(Raw::Nested));
    }

    #[test]
    fn entities_are_resolved_and_others_refused() {
        assert_eq!(value("a &lt;&#38;&#x3e; b"), Some(Raw::Text("a <&> b".into())));
        assert_eq!(value("&unknown;"), None);
        assert!(read("<!DOCTYPE a [<!ENTITY b 'c'>]><a><b>&b;</b></a>").is_err());
    }

    #[test]
    fn what_is_not_one_root_with_plain_elements_is_refused() {
        for text in ["text", "<a/><b/>", "<a>text</a>", "<a><b c='d'/></a>", "<a><b>", "<!-- none -->"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("<a xmlns='urn:x'><b>1</b></a>").is_ok());
    }
}
