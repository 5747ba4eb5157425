//! Which applications a policy protects: by namespace, with wildcards and exclusions, by label, by machine.

use std::collections::{BTreeMap, BTreeSet};

use super::{LabelOperator, LabelRequirement, LabelSelector};
use crate::names::{CLUSTER_SCOPE, label};
use crate::naming::{NameFault, check_label_key, check_label_value, check_namespace};

#[cfg(test)]
mod tests;

const VIRTUAL_MACHINE: &str = "k10.kasten.io/virtualMachineRef";

/// A selector as a policy spells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectorSpec {
    pub match_expressions: Vec<MatchExpression>,
    pub match_labels: BTreeMap<String, String>,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchExpression {
    pub key: String,
    pub operator: MatchOperator,
    pub values: Vec<String>,
}

/// How the condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Why a selector is refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SelectorFault {
    #[error("selector is empty; to select every application use '{key}' In ['*']", key = label::APP_NAMESPACE)]
    Empty,
    #[error("selector has both matchExpressions and matchLabels; use one of them")]
    Both,
    #[error("selector key '{key}' appears twice with the same operator")]
    Repeated { key: String },
    #[error("selector key '{key}' needs at least one value")]
    NoValues { key: String },
    #[error("selector key '{key}' takes no values with operator Exists")]
    ValuesWithExists { key: String },
    #[error("selector key '{key}' takes only the operators {known}")]
    Operator { key: String, known: &'static str },
    #[error("selector value '{value}' of '{key}' may not be excluded")]
    NotExcludable { key: String, value: String },
    #[error(
        "selector excludes namespaces but selects nothing; add an expression with operator In or a label"
    )]
    OnlyExclusion,
    #[error("selector value '{value}' is not a namespace or a wildcard such as 'app-*'")]
    Namespace { value: String },
    #[error("selector value '{value}' is not 'namespace/name'; a wildcard may stand in the name only")]
    VirtualMachine { value: String },
    #[error("selector keys '{}' and '{VIRTUAL_MACHINE}' exclude each other", label::APP_NAMESPACE)]
    MachinesAndNamespaces,
    #[error("selector mixes labels with namespaces or virtual machines; use one of them")]
    LabelsAndOthers,
    #[error("selector label '{key}': {fault}")]
    LabelKey { key: String, fault: NameFault },
    #[error("selector value '{value}' of '{key}': {fault}")]
    LabelValue { key: String, value: String, fault: NameFault },
    #[error(
        "a policy in namespace '{namespace}' may select only '{}' In ['{namespace}']",
        label::APP_NAMESPACE
    )]
    OutsideNamespace { namespace: String },
}

/// What a selector looks at: a namespace and the labels of every resource in it, the namespace's own too.
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    pub namespace: &'a str,
    pub labels: &'a [BTreeMap<String, String>],
}

/// A checked selector over applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationSelector {
    chosen: Chosen,
    cluster_scope: bool,
    excluded: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Chosen {
    Namespaces(Vec<Pattern>),
    Labels(Vec<LabelRequirement>),
    Machines(Vec<(String, Pattern)>),
}

impl ApplicationSelector {
    /// Checks a selector and reports every fault found.
    pub fn new(spec: &SelectorSpec) -> Result<Self, Vec<SelectorFault>> {
        let mut parts = Parts::default();
        match (spec.match_expressions.is_empty(), spec.match_labels.is_empty()) {
            (true, true) => return Err(vec![SelectorFault::Empty]),
            (false, false) => return Err(vec![SelectorFault::Both]),
            (true, false) => spec.match_labels.iter().for_each(|(key, value)| parts.take_label(key, value)),
            (false, true) => spec.match_expressions.iter().for_each(|expression| parts.take(expression)),
        }
        parts.finish()
    }

    /// Whether the application is protected.
    pub fn selects(&self, application: &Application<'_>) -> bool {
        if self.excludes(application.namespace) {
            return false;
        }
        match &self.chosen {
            Chosen::Namespaces(patterns) => {
                patterns.iter().any(|pattern| pattern.matches(application.namespace))
            }
            Chosen::Labels(requirements) => {
                let all_hold = |labels| requirements.iter().all(|requirement| requirement.matches(labels));
                application.labels.iter().any(all_hold)
            }
            Chosen::Machines(_) => false,
        }
    }

    /// Whether the virtual machine `name` of `namespace` is selected as an application of its own.
    pub fn selects_machine(&self, namespace: &str, name: &str) -> bool {
        match &self.chosen {
            Chosen::Machines(machines) => {
                machines.iter().any(|(within, pattern)| within == namespace && pattern.matches(name))
            }
            Chosen::Namespaces(_) | Chosen::Labels(_) => false,
        }
    }

    /// Whether the cluster-scoped resources are selected.
    pub fn selects_cluster_scope(&self) -> bool {
        self.cluster_scope
    }

    /// Whether it selects virtual machines instead of namespaces.
    pub fn selects_machines(&self) -> bool {
        matches!(self.chosen, Chosen::Machines(_))
    }

    /// The labels of which one resource must have all, where it selects by labels: `selects` needs them then.
    pub fn labels(&self) -> Option<LabelSelector> {
        match &self.chosen {
            Chosen::Labels(requirements) => Some(requirements.iter().cloned().collect()),
            Chosen::Namespaces(_) | Chosen::Machines(_) => None,
        }
    }

    /// Whether the namespace is left out whatever it holds.
    pub fn excludes(&self, namespace: &str) -> bool {
        self.excluded.iter().any(|pattern| pattern.matches(namespace))
    }

    /// Whether it selects this one namespace, spelt out, and nothing else.
    pub fn is_exactly(&self, namespace: &str) -> bool {
        let exact = |patterns: &[Pattern]| patterns.len() == 1 && patterns[0].0 == namespace;
        let named = matches!(&self.chosen, Chosen::Namespaces(patterns) if exact(patterns));
        named && !self.cluster_scope && self.excluded.is_empty()
    }

    /// Checks the selector of a policy outside the install namespace, which reaches only its own namespace.
    pub fn check_within(&self, namespace: &str) -> Result<(), SelectorFault> {
        if self.is_exactly(namespace) {
            return Ok(());
        }
        Err(SelectorFault::OutsideNamespace { namespace: namespace.to_owned() })
    }
}

/// A namespace or name in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(String);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

/// A selector while it is being read.
#[derive(Default)]
struct Parts {
    namespaces: Option<Vec<Pattern>>,
    excluded: Option<Vec<Pattern>>,
    machines: Option<Vec<(String, Pattern)>>,
    labels: Vec<LabelRequirement>,
    cluster_scope: bool,
    faults: Vec<SelectorFault>,
}

impl Parts {
    fn take(&mut self, expression: &MatchExpression) {
        let MatchExpression { key, operator, values } = expression;
        let takes_values = matches!(operator, MatchOperator::In | MatchOperator::NotIn);
        if takes_values && values.is_empty() {
            self.faults.push(SelectorFault::NoValues { key: key.clone() });
            return;
        }
        match (key.as_str(), operator) {
            (label::APP_NAMESPACE, MatchOperator::In) => self.take_namespaces(values),
            (label::APP_NAMESPACE, MatchOperator::NotIn) => self.take_exclusions(values),
            (VIRTUAL_MACHINE, MatchOperator::In) => self.take_machines(values),
            (label::APP_NAMESPACE, _) => self.refuse_operator(key, "In and NotIn"),
            (VIRTUAL_MACHINE, _) => self.refuse_operator(key, "In"),
            (_, MatchOperator::In) => self.take_label_values(key, values),
            (_, MatchOperator::Exists) if values.is_empty() => {
                self.require(key, LabelOperator::Exists);
            }
            (_, MatchOperator::Exists) => {
                self.faults.push(SelectorFault::ValuesWithExists { key: key.clone() });
            }
            // Any resource of the application decides, and nearly every application has one without the label.
            (_, MatchOperator::NotIn | MatchOperator::DoesNotExist) => {
                self.refuse_operator(key, "In and Exists");
            }
        }
    }

    fn take_namespaces(&mut self, values: &[String]) {
        let mut patterns = Vec::new();
        for value in values {
            if value == CLUSTER_SCOPE {
                self.cluster_scope = true;
            } else {
                patterns.extend(self.namespace_pattern(value));
            }
        }
        if self.namespaces.replace(patterns).is_some() {
            self.faults.push(SelectorFault::Repeated { key: label::APP_NAMESPACE.to_owned() });
        }
    }

    fn take_exclusions(&mut self, values: &[String]) {
        let mut patterns = Vec::new();
        for value in values {
            if value == "*" || value == CLUSTER_SCOPE {
                let (key, value) = (label::APP_NAMESPACE.to_owned(), value.clone());
                self.faults.push(SelectorFault::NotExcludable { key, value });
            } else {
                patterns.extend(self.namespace_pattern(value));
            }
        }
        if self.excluded.replace(patterns).is_some() {
            self.faults.push(SelectorFault::Repeated { key: label::APP_NAMESPACE.to_owned() });
        }
    }

    fn take_machines(&mut self, values: &[String]) {
        let mut machines = Vec::new();
        for value in values {
            match value.split_once('/') {
                Some((namespace, name)) if check_namespace(namespace).is_ok() && is_pattern(name) => {
                    machines.push((namespace.to_owned(), Pattern(name.to_owned())));
                }
                _ => self.faults.push(SelectorFault::VirtualMachine { value: value.clone() }),
            }
        }
        if self.machines.replace(machines).is_some() {
            self.faults.push(SelectorFault::Repeated { key: VIRTUAL_MACHINE.to_owned() });
        }
    }

    fn take_label(&mut self, key: &str, value: &str) {
        self.take_label_values(key, std::slice::from_ref(&value.to_owned()));
    }

    fn take_label_values(&mut self, key: &str, values: &[String]) {
        for value in values {
            if let Err(fault) = check_label_value(value) {
                let (key, value) = (key.to_owned(), value.clone());
                self.faults.push(SelectorFault::LabelValue { key, value, fault });
            }
        }
        self.require(key, LabelOperator::In(values.iter().cloned().collect::<BTreeSet<_>>()));
    }

    fn require(&mut self, key: &str, operator: LabelOperator) {
        if let Err(fault) = check_label_key(key) {
            self.faults.push(SelectorFault::LabelKey { key: key.to_owned(), fault });
        }
        self.labels.push(LabelRequirement { key: key.to_owned(), operator });
    }

    fn refuse_operator(&mut self, key: &str, known: &'static str) {
        self.faults.push(SelectorFault::Operator { key: key.to_owned(), known });
    }

    fn namespace_pattern(&mut self, value: &str) -> Option<Pattern> {
        if is_pattern(value) && value.len() <= 63 {
            return Some(Pattern(value.to_owned()));
        }
        self.faults.push(SelectorFault::Namespace { value: value.to_owned() });
        None
    }

    fn finish(self) -> Result<ApplicationSelector, Vec<SelectorFault>> {
        let Self { namespaces, excluded, machines, labels, cluster_scope, mut faults } = self;
        if machines.is_some() && (namespaces.is_some() || excluded.is_some()) {
            faults.push(SelectorFault::MachinesAndNamespaces);
        }
        let chosen = match (namespaces, machines, labels) {
            (Some(namespaces), None, labels) if labels.is_empty() => Some(Chosen::Namespaces(namespaces)),
            (None, Some(machines), labels) if labels.is_empty() => Some(Chosen::Machines(machines)),
            (None, None, labels) if labels.is_empty() => {
                faults.push(SelectorFault::OnlyExclusion);
                None
            }
            (None, None, labels) => Some(Chosen::Labels(labels)),
            (Some(_), Some(_), labels) if labels.is_empty() => None,
            (Some(_), _, _) | (_, Some(_), _) => {
                faults.push(SelectorFault::LabelsAndOthers);
                None
            }
        };
        match chosen {
            Some(chosen) if faults.is_empty() => {
                Ok(ApplicationSelector { chosen, cluster_scope, excluded: excluded.unwrap_or_default() })
            }
            _ => Err(faults),
        }
    }
}

/// A name in which `*` may take the place of any characters.
fn is_pattern(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.*".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}
