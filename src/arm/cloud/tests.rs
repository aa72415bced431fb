use super::*;
use rstest::rstest;

const STACK: &str = "https://management.local.azurestack.external";

/// `cloud endpoint audience authority`, with `-` for what is not said.
fn said(words: &str) -> Whereabouts {
    let mut words = words.split(' ').map(|word| (word != "-").then(|| word.to_owned()));
    let mut next = || words.next().flatten();
    Whereabouts {
        cloud: next().map(|name| name.parse().expect("a cloud")),
        endpoint: next(),
        audience: next(),
        authority: next(),
        compute_api_version: next(),
    }
}

fn located(words: &str) -> String {
    let place = said(words).locate().expect("a place");
    let compute = match &place.settings.versions.compute {
        Compute::Fixed(version) => version.clone(),
        Compute::Supported => "supported".into(),
    };
    let signing_in = match place.signing_in {
        SigningIn::At(authority) => authority,
        SigningIn::Discovered { audience, authority } => format!("discovered {audience:?} {authority:?}"),
    };
    let endpoint = place.settings.endpoint.as_str().trim_end_matches('/').to_owned();
    format!("{endpoint} for {} at {signing_in} in {compute}", place.settings.audience)
}

#[rstest]
#[case::nothing_said(
    "",
    "https://management.azure.com for https://management.azure.com at https://login.microsoftonline.com in 2024-07-01"
)]
#[case::by_name(
    "AzureUSGovernment",
    "https://management.usgovcloudapi.net for https://management.core.usgovcloudapi.net at https://login.microsoftonline.us in 2024-07-01"
)]
#[case::by_another_name(
    "azurechinacloud",
    "https://management.chinacloudapi.cn for https://management.core.chinacloudapi.cn at https://login.chinacloudapi.cn in 2024-07-01"
)]
#[case::by_its_endpoint(
    "- https://management.chinacloudapi.cn/",
    "https://management.chinacloudapi.cn for https://management.core.chinacloudapi.cn at https://login.chinacloudapi.cn in 2024-07-01"
)]
#[case::explicit_wins(
    "AzurePublic https://private.example https://a.example https://login.example 2020-06-01",
    "https://private.example for https://a.example at https://login.example in 2020-06-01"
)]
#[case::a_private_endpoint_of_a_cloud(
    "AzureChina https://private.example",
    "https://private.example for https://management.core.chinacloudapi.cn at https://login.chinacloudapi.cn in 2024-07-01"
)]
#[case::an_unknown_endpoint_with_its_authority(
    "- https://arm.example - https://login.example",
    "https://arm.example for https://arm.example at https://login.example in 2024-07-01"
)]
#[case::an_unknown_endpoint_alone(
    "- https://arm.example",
    "https://arm.example for https://arm.example at discovered None None in supported"
)]
#[case::an_unknown_endpoint_with_an_audience(
    "- https://arm.example https://a.example",
    "https://arm.example for https://a.example at discovered Some(\"https://a.example\") None in supported"
)]
#[case::a_stack_that_was_described(
    "AzureStack https://arm.example https://a.example https://login.example/adfs",
    "https://arm.example for https://a.example at https://login.example/adfs in supported"
)]
fn a_place_follows_from_what_is_said(#[case] words: &str, #[case] place: &str) {
    assert_eq!(located(if words.is_empty() { "-" } else { words }), place);
}

#[test]
fn a_stack_is_asked_for_what_was_not_said() {
    let authority = Some("https://login.example".to_owned());
    let place = said(&format!("AzureStack {STACK} - https://login.example")).locate().expect("a place");
    assert_eq!(place.signing_in, SigningIn::Discovered { audience: None, authority });
    assert_eq!(place.settings.versions, Versions::of_stack());
}

#[rstest]
#[case::no_endpoint("AzureStack", "set AZURE_RESOURCE_MANAGER_ENDPOINT")]
#[case::two_clouds(
    "AzurePublic https://management.usgovcloudapi.net",
    "is AzureUSGovernment's, and the cloud is named AzurePublic"
)]
#[case::no_tls("- http://management.azure.com", "plain http")]
#[case::an_old_version("- - - - 2018-04-01", "replaces the machine's whole list")]
#[case::no_version("- - - - newest", "write it as 2024-07-01")]
#[case::a_preview("- - - - 2016-04-30-preview", "write it as 2024-07-01")]
fn what_leads_nowhere_is_told(#[case] words: &str, #[case] why: &str) {
    let error = said(words).locate().expect_err("refused").to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = "AzureMoon".parse::<Cloud>().expect_err("unknown").to_string();
    assert!(error.contains("'AzureMoon'") && error.contains("AzureUSGovernment"), "{error}");
}

/// The page has a row for each cloud, with what is in the code.
#[test]
fn the_page_of_clouds_says_what_the_code_does() {
    use strum::IntoEnumIterator as _;
    let page = include_str!("../../../docs/clouds.md");
    for cloud in Cloud::iter() {
        let start = format!("| `{cloud}` |");
        let row = page.lines().find(|line| line.starts_with(&start)).expect("a row of each cloud");
        for said in
            cloud.known().iter().flat_map(|known| [known.endpoint, known.audience, known.authority, known.compute])
        {
            assert!(row.contains(&format!("`{said}`")), "{row} lacks {said}");
        }
    }
}
