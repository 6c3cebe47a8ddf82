//! Quantities of resources, as Kubernetes reads them.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

/// The suffixes of decimal and of binary multiples.
const SUFFIXES: [&str; 15] =
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// Whether a text is a number with a suffix or an exponent: `500m`, `1.5Gi`, `1e3`.
pub(super) fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let is_number = number.bytes().any(|b| b.is_ascii_digit())
        && number.bytes().filter(|b| *b == b'.').count() <= 1;
    let is_exponent = || {
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        Some(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number && (SUFFIXES.contains(&suffix) || suffix == "Ei" || is_exponent() == Some(true))
}

#[cfg(test)]
mod tests {
    use super::is_quantity;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for good in ["1", "500m", "1.5", "2Gi", "1e3", "100M", ".5", "-1"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1gb", "1GB", "1 Gi", "500 m", "1.2.3", "1e", "half", "512MB"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
