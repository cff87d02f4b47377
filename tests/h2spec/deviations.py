"""Where we do otherwise than RFC 9113 and RFC 7541 say: exactly which case, exactly what happens instead, and why that is
good enough. A case that is mended must be taken from here, or the suite fails.

Unless said otherwise it is the `h2` crate that does so."""


def group(outcome, reason, *names):
    """`names` without their numbers count for `number`s: "http2/5.1/5,6"."""
    found = {}
    for name in names:
        section, _, numbers = name.rpartition("/")
        for number in numbers.split(","):
            found[f"{section}/{number}"] = (outcome, reason)
    return found


CODE = """The connection is ended with GOAWAY as it must be, only with a more general code. Nobody but a person who debugs a
broken peer sees it."""
WHOLE = """One malformed message ends its connection instead of its stream, which RFC 9113 §5.4.1 allows. The header block
is not decoded further, so nothing of it can be passed on."""
GONE = """Pseudo fields behind a body are dropped, not refused: they can be seen by nobody."""

DEVIATIONS = {
    **group(
        "GOAWAY PROTOCOL_ERROR", CODE,
        "server http2/4.3/1,4", "server hpack/2.3.3/1,2", "server hpack/4.2/1,2", "server hpack/5.2/1,2,3,4,5",
        "server hpack/6.1/1", "server hpack/6.3/1,2",  # COMPRESSION_ERROR
        "server http2/6.1/5", "server http2/6.2/6",  # FRAME_SIZE_ERROR
        "server http2/6.5.2/2", "server http2/6.9.2/3",  # FLOW_CONTROL_ERROR
        "server http2/5.1/5,6,9,12", "server http2/8.1/2",  # STREAM_CLOSED
    ),
    **group(
        "GOAWAY PROTOCOL_ERROR; error", CODE,
        "client http2/4.3/1,2,6,7,8,9,10,11", "client http2/6.1/3", "client http2/6.3/2", "client http2/6.4/6",
        "client http2/6.5/1,3", "client http2/6.5.2/3", "client http2/6.7/2", "client http2/6.9/3",
    ),
    **group(
        "GOAWAY PROTOCOL_ERROR", WHOLE,
        "server http2/8.1.2/1", "server http2/8.1.2.1/1", "server rfc9113/8.2.1/1,2,3,4,5,6,7,8,9,10,11,12,13,16",
        "server rfc9113/8.3.1/13,14,15,16",
    ),
    **group("GOAWAY PROTOCOL_ERROR; error", WHOLE, "client http2/8.1.2/10,12,13,14,15"),
    **group("NOTHING", GONE, "server http2/8.1.2.1/3"),
    **group("NOTHING; whole", GONE, "client http2/8.1.2/11"),
    **group(
        "200",
        """Ours: spaces and tabs around a value are cut off, as HTTP/1 wants it; what is passed on has none. Clients take
        such values from files and variables.""",
        "server rfc9113/8.2.1/14,15",
    ),
    **group(
        "200",
        """The `http` crate cuts a fragment off the path before we see it; what is passed on has none.""",
        "server rfc9113/8.3.1/4",
    ),
    **group(
        "NOTHING; whole",
        """A server that sets ENABLE_PUSH is not sent away. Its pushes would be: we forbid them, and a PUSH_PROMISE ends
        the connection.""",
        "client http2/6.5.2/1",
    ),
    **group(
        "NOTHING; error",
        """An interim answer that ends its stream is a failed answer at once, but the stream, which has ended, is not
        reset.""",
        "client http2/8.1/3",
    ),
}
