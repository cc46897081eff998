//! Values as they are written, before anybody knows what they mean.

/// What a file, a variable or a flag holds: numbers and booleans are their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// Nothing: no value at all, or an empty text.
    Nothing,
    /// One value.
    Text(String),
    /// Several.
    List(Vec<String>),
    /// Keys with values, in their order, repeated ones too. No setting is so, but some files have sections.
    Keys(Vec<(String, Raw)>),
    /// A list with keys or lists inside, which no setting is.
    Nested,
}

impl Raw {
    /// A text, of which the blanks at both ends do not count.
    pub(super) fn text(text: &str) -> Self {
        match text.trim() {
            "" => Self::Nothing,
            text => Self::Text(text.to_owned()),
        }
    }

    /// Several texts, of which empty ones do not count.
    pub(super) fn list(texts: impl IntoIterator<Item = String>) -> Self {
        let texts = texts.into_iter().map(|text| text.trim().to_owned());
        let filled: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        if filled.is_empty() { Self::Nothing } else { Self::List(filled) }
    }

    /// A list: its own items, each of which may be several parted by commas or blanks.
    pub(super) fn items(&self) -> Vec<&str> {
        let texts = match self {
            Self::Nothing | Self::Keys(_) | Self::Nested => &[][..],
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(list) => list,
        };
        texts
            .iter()
            .flat_map(|text| text.split(|c: char| c == ',' || c.is_whitespace()))
            .filter(|item| !item.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_one_text() {
        for text in ["a,b,c", "a b c", " a,  b\tc,", "a,b\nc"] {
            assert_eq!(Raw::text(text).items(), ["a", "b", "c"], "{text:?}");
        }
        let list = Raw::List(vec!["a".into(), "b c".into(), String::new()]);
        assert_eq!(list.items(), ["a", "b", "c"]);
        assert_eq!(Raw::text(" \n").items(), [""; 0]);
    }
}
