/* See history.h. Whoever cannot read the record, or finds none, knows nothing of any version. */
#include "policy/history.h"

#include "base/limits.h"
#include "base/text.h"

#define RECORD_VERSION 1

static void begin(const struct store *s, struct reader *r)
{
    struct span bytes = store_record(s, span_of(HISTORY_RECORD));
    reader_init(r, bytes.data, bytes.len);
    r->failed = reader_u8(r) != RECORD_VERSION || r->failed;
}

static bool next(struct reader *r, struct history_entry *out)
{
    if (r->failed || reader_left(r) == 0) {
        return false;
    }
    uint64_t version = reader_varint(r), restored = reader_varint(r);
    out->name = reader_bytes(r);
    out->version = (uint32_t)version;
    out->restored = (int64_t)restored - 1;
    return !r->failed && version <= UINT32_MAX && restored <= UINT32_MAX;
}

static void put(struct buf *out, const struct history_entry *h)
{
    bool fits = h->name.len <= ID_BYTES_MAX && text_is_utf8(h->name);
    buf_put_varint(out, h->version);
    buf_put_varint(out, (uint64_t)(h->restored + 1));
    buf_put_bytes(out, h->name.data, fits ? h->name.len : 0);
}

bool history_find(const struct store *s, uint32_t version, struct history_entry *out)
{
    struct reader r;
    begin(s, &r);
    while (next(&r, out)) {
        if (out->version == version) {
            return true;
        }
    }
    return false;
}

void history_with(const struct store *s, const struct history_entry *add, struct buf *out)
{
    struct reader r;
    struct history_entry h;
    buf_clear(out);
    buf_put_u8(out, RECORD_VERSION);
    begin(s, &r);
    while (next(&r, &h)) {
        if (h.version < add->version && h.version + POLICIES_KEPT > add->version) {
            put(out, &h);
        }
    }
    put(out, add);
}
