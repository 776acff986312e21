//! "Did you mean …?"

/// The candidate that `word` is most likely a slip of, if any is near enough.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(MAX_CHARS).collect();
    let limit = (word.len().max(3)) / 3;
    candidates
        .into_iter()
        .map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().take(MAX_CHARS).collect();
            (distance(&word, &other), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Words are compared up to this many characters: no key is longer, and the work is quadratic.
const MAX_CHARS: usize = 64;

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of
/// neighbours (Boytsov 2011, "Indexing methods for approximate dictionary searching", 2.2).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// Names for a message: `a`, `b` and `c`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let mut quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.pop() {
        Some(name) if quoted.is_empty() => name,
        Some(name) => format!("{} {last} {name}", quoted.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let keys = ["topic", "brokers", "partitions", "path"];
        assert_eq!(closest("topik", keys), Some("topic"));
        assert_eq!(closest("brokres", keys), Some("brokers"));
        assert_eq!(closest("Partition", keys), Some("partitions"));
        assert_eq!(closest("pth", keys), Some("path"));
    }

    #[test]
    fn an_unrelated_word_finds_nothing() {
        assert_eq!(closest("zebra", ["topic", "brokers"]), None);
        assert_eq!(closest("", ["a"]), Some("a"));
        assert_eq!(closest("x", []), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list(["a", "b", "c"], "or"), "`a`, `b` or `c`");
        assert_eq!(list(["a"], "or"), "`a`");
        assert_eq!(list([], "or"), "");
    }
}
