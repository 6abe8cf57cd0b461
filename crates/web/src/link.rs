//! The `Link` header of a paged list (RFC 8288).

/// Where `rel="next"` leads, as written: an absolute or a relative address.
pub(crate) fn next(link: &str) -> Option<&str> {
    let mut parts = link.split('<').skip(1);
    parts.find_map(|part| {
        let (address, parameters) = part.split_once('>')?;
        parameters.split(';').any(is_next).then_some(address)
    })
}

/// Whether a parameter of a link is a `rel` with `next` among its words.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    // a list of links is divided by commas, the last of which hangs at the value
    let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel")
        && value
            .split_ascii_whitespace()
            .any(|word| word.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (link, found) in [
            ("", None),
            ("rel=\"next\"", None),
            ("<https://g/x?a=b>; rel=\"last\"", None),
            ("<https://g/x?rel=next>; rel=\"last\"", None),
            (
                "<https://g/x>; title=\"next\"; rel=\"prev\", </y>; rel=next",
                Some("/y"),
            ),
            (
                "<https://g/x?page=1>; rel=\"first\", <https://g/x?cursor=a%3D&per_page=2>; rel=\"next\", <https://g/z>; rel=\"last\"",
                Some("https://g/x?cursor=a%3D&per_page=2"),
            ),
            ("<https://g/x>; REL=\"last Next\"", Some("https://g/x")),
        ] {
            assert_eq!(next(link), found, "{link}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics_and_what_is_found_stands_in_it(link in "(<|>|;|,| |=|\"|rel|next|REL|https://g/x\\?a=b|\\PC){0,24}") {
            if let Some(found) = next(&link) {
                let bracketed = format!("<{found}>");
                proptest::prop_assert!(link.contains(&bracketed), "{}", link);
            }
        }
    }
}
