//! The definitions as they are rendered: stable, and without what a server would refuse.

use keelson_model::names::group;

use super::*;
use crate::configuration::CONFIGURATION;

/// Each kind with the schema of its specification.
fn specs() -> Vec<(String, Value)> {
    let spec = |definition: &Value| {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"].clone()
    };
    let kind = |definition: &Value| definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
    crds().iter().map(|(_, definition)| (kind(definition), spec(definition))).collect()
}

#[test]
fn each_kind_of_configuration_has_a_definition() {
    // Nobody configures anything by a report.
    let mut defined: Vec<_> =
        specs().into_iter().map(|(kind, _)| kind).filter(|kind| kind != "Report").collect();
    let mut known: Vec<_> = CONFIGURATION.iter().map(|one| one.kind.to_owned()).collect();
    defined.sort();
    known.sort();
    assert_eq!(defined, known);
    let of_configuration = |(_, definition): &(String, Value)| definition["spec"]["group"] == group::CONFIG;
    for (file, definition) in crds().into_iter().filter(of_configuration) {
        let kind = CONFIGURATION.iter().find(|one| definition["spec"]["names"]["kind"] == one.kind).unwrap();
        assert_eq!(definition["spec"]["names"]["plural"], kind.plural, "{file}");
        let described = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
        let is_unused = described.as_str().unwrap().contains("It is stored and validated only");
        let unused = kind.validation.and_then(|validation| validation.unused);
        assert_eq!(is_unused, unused.is_some(), "{file}: {described}");
    }
}

/// Calls `visit` with every schema inside a schema and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}[]"), visit);
        }
    }
}

#[test]
fn a_definition_reads_back_from_its_file() {
    for (file, definition) in crds() {
        let text = render_yaml(&definition);
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, definition, "{file}");
        assert_eq!(render_yaml(&back), text, "{file}");
    }
}

#[test]
fn definitions_print_status_and_age_and_keep_status_apart() {
    for (file, definition) in crds() {
        let version = &definition["spec"]["versions"][0];
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
        let expected: &[&str] = match definition["spec"]["names"]["kind"].as_str().unwrap() {
            "Report" => continue,
            "BlueprintBinding" => &["Disabled", "Status", "Age"],
            _ => &["Status", "Age"],
        };
        assert_eq!(names, expected, "{file}");
        assert_eq!(columns[columns.len() - 2]["jsonPath"], ".status.validation");
        assert!(version["subresources"]["status"].is_object(), "{file}");
        assert_eq!(definition["spec"]["scope"], "Namespaced");
    }
}

/// What a report found stands beside its specification, under the names that are documented.
#[test]
fn a_report_has_results_and_no_status() {
    let (_, definition) = crds().into_iter().find(|(file, _)| file.starts_with("reports.")).unwrap();
    assert_eq!(definition["metadata"]["name"], "reports.reporting.kio.kasten.io");
    let version = &definition["spec"]["versions"][0];
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["License", "DR", "Time", "Age"]);
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    assert!(version["subresources"].is_null() && schema["status"].is_null());
    for path in [
        "licensing/properties/status",
        "polices/properties/k10DR/properties/status",
        "actions/properties/countStats/additionalProperties/properties/completed",
        "compliance/properties/someNonCompliantApps",
        "k10Services/items/properties/diskUsage",
    ] {
        let found = schema["results"]["properties"].pointer(&format!("/{path}"));
        assert!(found.is_some_and(|found| found["description"].is_string()), "{path}");
    }
}

/// A null that is not nullable is pruned before any rule sees it.
#[test]
fn no_field_takes_a_null() {
    for (file, definition) in crds() {
        let text = render_yaml(&definition);
        assert!(!text.contains("nullable") && !text.contains("- null"), "{file}");
    }
}

#[test]
fn no_definition_fills_in_a_default() {
    for (kind, spec) in specs() {
        walk(&spec, "spec", &mut |path, schema| {
            assert!(schema.get("default").is_none(), "{kind} {path} has a default");
        });
    }
}

/// Without bounds on what they look at, the API server takes rules for too dear.
#[test]
fn every_list_and_text_of_a_spec_is_bounded() {
    for (kind, spec) in specs() {
        walk(&spec, "spec", &mut |path, schema| match schema["type"].as_str() {
            Some("array") => assert!(schema["maxItems"].is_number(), "{kind} {path} has no maxItems"),
            Some("string") if schema.get("enum").is_none() => {
                let inside_map = path.ends_with("[]") && schema.get("maxLength").is_none();
                let bounded = schema["maxLength"].is_number() || schema["format"] == "date-time";
                assert!(bounded || inside_map, "{kind} {path} has no maxLength");
            }
            _ => {}
        });
    }
}

#[test]
fn every_field_is_described() {
    for (kind, spec) in specs() {
        walk(&spec, "spec", &mut |path, schema| {
            assert!(path.ends_with("[]") || schema["description"].is_string(), "{kind} {path}");
        });
    }
}
