//! Errors for people: every layer of a chain once, joined by colons.
use std::error::Error;
use std::fmt::Write;

/// The `Display` of an error and of all its sources.
///
/// A layer that repeats what was said already is left out: some libraries print their source and return it too.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !said.is_empty() && !text.contains(&said) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {said}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        under: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().expect("one layer at least");
        let under = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, under }
    }

    #[test]
    fn every_layer_is_said_once() {
        assert_eq!(chain(&layers(&["no token", "no connection", "refused"])), "no token: no connection: refused");
        assert_eq!(chain(&layers(&["no token: refused", "refused"])), "no token: refused");
    }
}
