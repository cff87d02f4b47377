//! Media types guessed from what is there: the first bytes of an image, the suffix of an address.

/// The type of a base64 image by its first characters; PNG where nothing fits.
pub(crate) fn sniff_image(base64: &str) -> &'static str {
    match base64 {
        data if data.starts_with("iVBORw0KGgo") => "image/png",
        data if data.starts_with("/9j/") => "image/jpeg",
        data if data.starts_with("R0lGOD") => "image/gif",
        data if data.starts_with("UklGR") => "image/webp",
        _ => "image/png",
    }
}

/// The type that the suffix of an address's path names; query and fragment do not count.
pub(crate) fn type_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let file = path.rsplit('/').next()?;
    let (_, suffix) = file.rsplit_once('.')?;
    Some(match suffix.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "bmp" => "image/bmp",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "aiff" | "aif" => "audio/aiff",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "json" => "application/json",
        "js" | "mjs" => "text/javascript",
        "py" => "text/x-python",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_their_type_without_query_and_fragment() {
        for (url, expected) in [
            ("https://h.example/a/cat.PNG?x=1.gif", Some("image/png")),
            ("https://h.example/a.b/doc.pdf#page=2.png", Some("application/pdf")),
            ("https://h.example/cat", None),
            ("https://h.example", None),
            ("https://h.example/a.zzz?y.png", None),
        ] {
            assert_eq!(type_of_url(url), expected, "{url}");
        }
    }

    #[test]
    fn images_are_known_by_their_first_bytes() {
        for (data, expected) in [
            ("iVBORw0KGgoAAA", "image/png"),
            ("/9j/4AAQ", "image/jpeg"),
            ("R0lGODlh", "image/gif"),
            ("UklGRiQA", "image/webp"),
            ("AAAA", "image/png"),
        ] {
            assert_eq!(sniff_image(data), expected);
        }
    }
}
