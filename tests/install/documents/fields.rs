//! The page of a kind names every field, the controller's page every option.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use devenv::paths::repository;
use lanyard::cli::Cli;
use serde_json::Value;

use super::count;
use super::pages::{Page, page};

/// Each field of a schema by its path, with the values that it may have.
fn fields(schema: &Value, path: &str, all: &mut Vec<(String, Vec<String>)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let values = field["enum"].as_array().into_iter().chain(field["items"]["enum"].as_array()).flatten();
        all.push((path.clone(), values.filter_map(Value::as_str).map(str::to_owned).collect()));
        // Conditions look alike everywhere: Kubernetes' own documents describe them.
        if name != "conditions" {
            fields(field, &path, all);
            fields(&field["items"], &path, all);
        }
    }
}

/// What a page's sections leave out, and how much there is.
fn untold(definition: &Value, page: &Page) -> (Vec<String>, usize) {
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let (mut missing, mut told) = (Vec::new(), 0);
    for (part, schema) in schema.as_object().into_iter().flatten() {
        let words = page.words(Some(part));
        let mut all = Vec::new();
        fields(schema, part, &mut all);
        for (path, values) in all {
            let name = path.rsplit('.').next().unwrap_or_default();
            // What people choose from is told in full; what they read may be told by a page that is linked.
            let values = values.iter().filter(|value| part == "spec" && !words.contains(value.as_str()));
            missing.extend(values.map(|value| format!("{path}: {value}")));
            if !words.contains(name) {
                missing.push(path.clone());
            }
            told += 1;
        }
    }
    (missing, told)
}

#[test]
fn the_page_of_a_kind_names_every_field_of_it() -> Result<()> {
    let (mut missing, mut told, mut kinds) = (Vec::new(), 0, 0);
    for entry in std::fs::read_dir(repository().join("crds"))? {
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(entry?.path())?)?;
        let Some(kind) = definition["spec"]["names"]["kind"].as_str() else { continue };
        let page = page(format!("docs/{}.md", kind.to_lowercase()))?;
        let (untold, some) = untold(&definition, &page);
        ensure!(some > 5, "{kind} has hardly a field");
        missing.extend(untold.iter().map(|path| format!("{}: {path}", page.path.display())));
        told += some;
        kinds += 1;
    }
    count(&format!("{told} fields of {kinds} kinds"));
    ensure!(missing.is_empty() && kinds == 4, "not told of:\n{}", missing.join("\n"));
    Ok(())
}

#[test]
fn the_page_of_the_controller_names_every_option_and_variable() -> Result<()> {
    let page = page("docs/controller.md")?;
    let words = page.words(None);
    let program = Cli::command();
    let controller = program.find_subcommand("controller").context("no controller")?;
    let mut names = BTreeSet::new();
    for option in controller.get_arguments().filter(|option| !option.is_hide_set() && option.get_id() != "help") {
        names.extend(option.get_long().map(|long| format!("--{long}")));
        names.extend(option.get_env().and_then(|name| name.to_str()).map(str::to_owned));
    }
    let missing: Vec<_> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
    count(&format!("{} options and variables of the controller", names.len()));
    ensure!(missing.is_empty() && names.len() > 30, "docs/controller.md does not name {missing:?}");
    Ok(())
}

#[test]
fn every_command_has_its_place_on_the_page_of_the_command_line() -> Result<()> {
    let page = page("docs/cli.md")?;
    let words = page.words(None);
    let program = Cli::command();
    // How to run the controller, and the definitions, are told where that is done.
    let elsewhere = ["controller", "crds"];
    let mut commands = program.get_subcommands().map(clap::Command::get_name).filter(|name| !elsewhere.contains(name));
    let missing: Vec<_> = commands.by_ref().filter(|name| !words.contains(name)).collect();
    ensure!(missing.is_empty(), "docs/cli.md does not name {missing:?}");
    Ok(())
}
