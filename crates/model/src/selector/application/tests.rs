//! Which applications a policy's selector takes, and what it refuses.

use super::*;

fn expression(key: &str, operator: MatchOperator, values: &[&str]) -> MatchExpression {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    MatchExpression { key: key.to_owned(), operator, values }
}

fn included(values: &[&str]) -> MatchExpression {
    expression(label::APP_NAMESPACE, MatchOperator::In, values)
}

fn excluded(values: &[&str]) -> MatchExpression {
    expression(label::APP_NAMESPACE, MatchOperator::NotIn, values)
}

fn selector(expressions: &[MatchExpression]) -> Result<ApplicationSelector, Vec<SelectorFault>> {
    let match_expressions = expressions.to_vec();
    ApplicationSelector::new(&SelectorSpec { match_expressions, match_labels: BTreeMap::new() })
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn namespaces_are_selected_by_name_and_wildcard() {
    for (values, namespace, expected) in [
        (&["shop"][..], "shop", true),
        (&["shop"], "shop2", false),
        (&["app-*"], "app-1", true),
        (&["app-*"], "app-", true),
        (&["app-*"], "my-app-1", false),
        (&["*"], "anything", true),
        (&["*-prod"], "shop-prod", true),
        (&["a*b*c"], "a1b2c", true),
        (&["a*b*c"], "acb", false),
        (&["a*a"], "a", false),
        (&["a", "b"], "b", true),
        (&["kasten-io-cluster"], "kasten-io-cluster", false),
    ] {
        let selector = selector(&[included(values)]).unwrap();
        assert_eq!(selector.selects(&Application { namespace, labels: &[] }), expected, "{values:?}");
    }
}

#[test]
fn an_exclusion_wins() {
    let selector = selector(&[included(&["app-*"]), excluded(&["app-test*"])]).unwrap();
    let selects = |namespace| selector.selects(&Application { namespace, labels: &[] });
    assert!(selects("app-1"));
    assert!(!selects("app-test-1"));
}

#[test]
fn cluster_scope_is_a_value_of_its_own() {
    let selector = selector(&[included(&["kasten-io-cluster", "shop"])]).unwrap();
    assert!(selector.selects_cluster_scope());
    assert!(!selector.is_exactly("shop"));
    assert!(selector.selects(&Application { namespace: "shop", labels: &[] }));
}

#[test]
fn a_label_on_any_resource_selects_the_whole_application() {
    let spec = SelectorSpec {
        match_expressions: Vec::new(),
        match_labels: labels(&[("app", "a"), ("tier", "web")]),
    };
    let selector = ApplicationSelector::new(&spec).unwrap();
    assert_eq!(selector.labels().map(|labels| labels.to_string()).as_deref(), Some("app=a,tier=web"));
    let split = [labels(&[("app", "a")]), labels(&[("tier", "web")])];
    let joined = [labels(&[]), labels(&[("app", "a"), ("tier", "web"), ("x", "y")])];
    assert!(!selector.selects(&Application { namespace: "n", labels: &split }));
    assert!(selector.selects(&Application { namespace: "n", labels: &joined }));
}

#[test]
fn label_expressions_take_any_value_and_may_exclude_namespaces() {
    let by_label = expression("app", MatchOperator::In, &["a", "b"]);
    let selector = selector(&[by_label, excluded(&["test"])]).unwrap();
    let labels = [labels(&[("app", "b")])];
    assert!(selector.selects(&Application { namespace: "prod", labels: &labels }));
    assert!(!selector.selects(&Application { namespace: "test", labels: &labels }));
}

#[test]
fn a_virtual_machine_is_selected_by_namespace_and_name() {
    let machines = expression("k10.kasten.io/virtualMachineRef", MatchOperator::In, &["vms/db-*"]);
    let selector = selector(&[machines]).unwrap();
    assert!(selector.selects_machines());
    assert!(selector.selects_machine("vms", "db-1"));
    assert!(!selector.selects_machine("other", "db-1"));
    assert!(!selector.selects(&Application { namespace: "vms", labels: &[] }));
}

#[test]
fn a_policy_outside_the_install_namespace_reaches_only_its_own() {
    let own = selector(&[included(&["shop"])]).unwrap();
    assert_eq!(own.check_within("shop"), Ok(()));
    for other in [&["*"][..], &["shop", "bank"], &["bank"], &["shop", "kasten-io-cluster"], &["sho*"]] {
        let message = selector(&[included(other)]).unwrap().check_within("shop").unwrap_err().to_string();
        assert_eq!(
            message,
            "a policy in namespace 'shop' may select only 'k10.kasten.io/appNamespace' In ['shop']"
        );
    }
}

#[test]
fn a_wrong_selector_names_every_fault() {
    let vm = "k10.kasten.io/virtualMachineRef";
    let cases: &[(&[MatchExpression], &str)] = &[
        (&[], "selector is empty; to select every application use 'k10.kasten.io/appNamespace' In ['*']"),
        (&[included(&[])], "selector key 'k10.kasten.io/appNamespace' needs at least one value"),
        (&[included(&["A b"])], "selector value 'A b' is not a namespace or a wildcard such as 'app-*'"),
        (
            &[included(&["a"]), excluded(&["*"])],
            "selector value '*' of 'k10.kasten.io/appNamespace' may not be excluded",
        ),
        (
            &[included(&["a"]), excluded(&["kasten-io-cluster"])],
            "selector value 'kasten-io-cluster' of 'k10.kasten.io/appNamespace' may not be excluded",
        ),
        (
            &[excluded(&["a"])],
            "selector excludes namespaces but selects nothing; add an expression with operator In or a label",
        ),
        (
            &[included(&["a"]), included(&["b"])],
            "selector key 'k10.kasten.io/appNamespace' appears twice with the same operator",
        ),
        (
            &[expression(label::APP_NAMESPACE, MatchOperator::Exists, &[])],
            "selector key 'k10.kasten.io/appNamespace' takes only the operators In and NotIn",
        ),
        (
            &[expression("app", MatchOperator::NotIn, &["x"])],
            "selector key 'app' takes only the operators In and Exists",
        ),
        (
            &[expression(vm, MatchOperator::In, &["*/db"])],
            "selector value '*/db' is not 'namespace/name'; a wildcard may stand in the name only",
        ),
        (
            &[expression(vm, MatchOperator::In, &["a/b"]), included(&["a"])],
            "selector keys 'k10.kasten.io/appNamespace' and 'k10.kasten.io/virtualMachineRef' exclude each other",
        ),
        (
            &[expression("app", MatchOperator::In, &["x"]), included(&["a"])],
            "selector mixes labels with namespaces or virtual machines; use one of them",
        ),
    ];
    for (expressions, message) in cases {
        let faults = selector(expressions).unwrap_err();
        assert_eq!(faults[0].to_string(), *message);
    }
}
