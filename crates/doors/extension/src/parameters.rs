//! The query of a request, parameter by parameter. What nobody took is refused: an option that we do not know
//! must not be mistaken for one that we obeyed.

use axum::extract::Query;
use http::Uri;
use keelson_model::{GoDuration, Revision};

use crate::refusal::{FieldError, Refusal};

/// The parameters of one request that were not taken yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// The type of options in Kubernetes' words, for messages: `ListOptions`.
    options: &'static str,
    left: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Parameters {
    pub(crate) fn parse(options: &'static str, uri: &Uri) -> Result<Self, Refusal> {
        let Query(left) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Refusal::bad_request("the query of the request cannot be decoded"))?;
        Ok(Self { options, left, errors: Vec::new() })
    }

    /// Whether a parameter is there and still to be taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(key, _)| key == name)
    }

    /// Takes a parameter. Given twice it is an error: the API server authorized by the first one only.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let values = self.take_all(name);
        if values.len() > 1 {
            self.errors.push(FieldError::invalid(name, "must be given once"));
        }
        values.into_iter().next()
    }

    pub(crate) fn take_all(&mut self, name: &str) -> Vec<String> {
        let mut taken = Vec::new();
        self.left.retain_mut(|(key, value)| {
            if key != name {
                return true;
            }
            taken.push(std::mem::take(value));
            false
        });
        taken
    }

    /// Takes a text; an empty one counts as absent.
    pub(crate) fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|text| !text.is_empty())
    }

    /// Takes a switch as Kubernetes reads it: `?watch`, `?watch=1` and `?watch=true` are on.
    pub(crate) fn take_switch(&mut self, name: &str) -> Option<bool> {
        let text = self.take(name)?;
        Some(!(text == "0" || text.eq_ignore_ascii_case("false")))
    }

    pub(crate) fn take_number(&mut self, name: &str) -> Option<u64> {
        let text = self.take_text(name)?;
        match text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok()) {
            Some(number) => Some(number),
            None => {
                self.refuse(FieldError::invalid(name, "must be a number that is not negative"));
                None
            }
        }
    }

    pub(crate) fn take_revision(&mut self, name: &str) -> Option<Revision> {
        let text = self.take_text(name)?;
        match text.parse() {
            Ok(revision) => Some(revision),
            Err(error) => {
                self.refuse(FieldError::invalid(name, format!("{error}")));
                None
            }
        }
    }

    /// Takes what every request may carry. The API server itself ends a request at its `timeout`.
    fn take_universal(&mut self) {
        if let Some(text) = self.take_text("timeout")
            && let Err(error) = text.parse::<GoDuration>()
        {
            self.refuse(FieldError::invalid("timeout", error.to_string()));
        }
        if self.take_switch("pretty") == Some(true) {
            self.refuse(FieldError::unsupported("pretty", "this server prints JSON on one line"));
        }
    }

    pub(crate) fn refuse(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// Ends the parsing: nothing may be left, and nothing may have been wrong.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        self.take_universal();
        let mut unknown: Vec<String> = self.left.drain(..).map(|(key, _)| excerpt(&key)).collect();
        unknown.sort();
        unknown.dedup();
        for name in unknown {
            self.errors.push(FieldError::unsupported(name, "this server does not know the option"));
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Refusal::invalid_options(self.options, &self.errors))
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        let uri: Uri = format!("/apis?{query}").parse().expect("a test's own query");
        Parameters::parse("ListOptions", &uri).expect("a test's own query")
    }

    #[test]
    fn a_switch_is_read_as_kubernetes_reads_it() {
        for (query, expected) in [
            ("", None),
            ("watch", Some(true)),
            ("watch=", Some(true)),
            ("watch=1", Some(true)),
            ("watch=false", Some(false)),
            ("watch=FALSE", Some(false)),
            ("watch=0", Some(false)),
        ] {
            assert_eq!(parameters(query).take_switch("watch"), expected, "{query}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let refusal = parameters("shardSelector=x&timeout=32s").finish().unwrap_err();
        assert_eq!(refusal.code(), http::StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refusal.message().contains("shardSelector"), "{}", refusal.message());
    }

    #[test]
    fn an_option_given_twice_is_refused() {
        let mut twice = parameters("watch=0&watch=1");
        assert_eq!(twice.take_switch("watch"), Some(false));
        assert!(twice.finish().is_err());
    }

    #[test]
    fn wrong_numbers_and_versions_are_refused() {
        for query in ["limit=-1", "limit=many", "resourceVersion=-1", "resourceVersion=abc", "timeout=soon"] {
            let mut parameters = parameters(query);
            parameters.take_number("limit");
            parameters.take_revision("resourceVersion");
            assert!(parameters.finish().is_err(), "{query}");
        }
    }
}
