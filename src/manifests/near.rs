//! The word that was meant.

/// The candidate that a misspelt word is nearest to, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let distance = |candidate: &str| strsim::osa_distance(&folded, &candidate.to_lowercase());
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    near.filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 4)).min().map(|(_, candidate)| candidate)
}

/// `; did you mean target?`, or nothing.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use rstest::rstest;

    #[rstest]
    #[case::letter_missing("userAsigned", Some("userAssigned"))]
    #[case::other_case("userassigned", Some("userAssigned"))]
    #[case::two_swapped("taregt", Some("target"))]
    #[case::another_word("replicas", None)]
    fn a_slip_is_seen_through_and_another_word_is_not(#[case] word: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(word, ["systemAssigned", "target", "userAssigned", "mode"]), meant);
    }
}
