/* A bundle as bytes: for each file its name and text, both with a varint length before. */
#include "policy/policy.h"

void policy_bundle_begin(struct buf *out) { buf_clear(out); }

void policy_bundle_add(struct buf *out, struct span name, struct span text)
{
    buf_put_span(out, name);
    buf_put_span(out, text);
}

int policy_bundle_next(struct reader *r, struct span *name, struct span *text)
{
    if (r->failed || reader_left(r) == 0) {
        return -1;
    }
    *name = reader_bytes(r);
    *text = reader_bytes(r);
    return r->failed ? -1 : 0;
}
