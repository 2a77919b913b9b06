/* Encoding and decoding of the journal's files: see journal_format.h. */
#include "raftio/journal_format.h"

#include <string.h>

#include "base/hash.h"
#include "base/limits.h"

#define RECORD_MAGIC 0x5543u     /* "CU" on disk */
#define BLOCK_MAGIC  0x4b4c4255u /* "UBLK" on disk */

static const char segment_magic[8] = "USHRLOG";
static const char identity_magic[8] = "USHRID\n";
static const char snapshot_magic[8] = "USHRSNP";
static const char trailer_magic[8] = "USHREND";
static const char slot_magic[2][8] = { [SLOT_VOTE] = "USHRVOT", [SLOT_MARK] = "USHRMRK" };

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static void put64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

bool bytes_are_zero(const uint8_t *p, size_t len)
{
    /* Comparing a range with itself, shifted by one, is memcmp's speed. */
    return len == 0 || (p[0] == 0 && (len == 1 || memcmp(p, p + 1, len - 1) == 0));
}

/* ---- Framed pieces: magic, version, content, checksum in the last 8 bytes  */

static void frame_begin(uint8_t *out, size_t len, const char magic[8])
{
    memset(out, 0, len);
    memcpy(out, magic, 8);
    put32(out + 8, JOURNAL_VERSION);
}

static void frame_end(uint8_t *out, size_t len) { put64(out + len - 8, hash64(out, len - 8)); }

static enum format_status frame_check(const uint8_t *p, size_t have, size_t len,
                                      const char magic[8])
{
    if (have < len) {
        return bytes_are_zero(p, have) ? FORMAT_BLANK : FORMAT_BAD;
    }
    if (memcmp(p, magic, 8) != 0) {
        return bytes_are_zero(p, len) ? FORMAT_BLANK : FORMAT_BAD;
    }
    /* Before the checksum: another version may well place it elsewhere, and what it
     * wrote must be refused, not taken for damage. None is called 0: that was torn. */
    uint32_t version = get32(p + 8);
    if (version != JOURNAL_VERSION) {
        return version != 0 ? FORMAT_VERSION : FORMAT_BAD;
    }
    return get64(p + len - 8) == hash64(p, len - 8) ? FORMAT_OK : FORMAT_BAD;
}

/* ---- Segments ----------------------------------------------------------- */

void segment_header_encode(uint8_t out[SEGMENT_HEADER_BYTES], uint64_t node_id,
                           const struct segment_header *h)
{
    frame_begin(out, SEGMENT_HEADER_BYTES, segment_magic);
    put64(out + 16, node_id);
    put64(out + 24, h->number);
    put64(out + 32, h->first_index);
    frame_end(out, SEGMENT_HEADER_BYTES);
}

enum format_status segment_header_decode(const uint8_t *p, size_t len, uint64_t node_id,
                                         struct segment_header *out)
{
    enum format_status s = frame_check(p, len, SEGMENT_HEADER_BYTES, segment_magic);
    if (s != FORMAT_OK) {
        return s;
    }
    *out = (struct segment_header){ .number = get64(p + 24), .first_index = get64(p + 32) };
    return get64(p + 16) == node_id ? FORMAT_OK : FORMAT_FOREIGN;
}

/* Record: 0 checksum of all that follows, 8 payload length, 12 kind, 13 type, 14 magic,
 * 16 term, 24 index, 32 durable, 40 payload, zeros up to a multiple of 8. */
void record_encode(struct buf *out, uint64_t node_id, uint64_t position, const struct record *r)
{
    size_t size = record_bytes(r->len);
    if (!buf_reserve(out, size)) {
        return;
    }
    uint8_t *p = out->data + out->len;
    memset(p + size - 8, 0, 8); /* the padding; without payload it is `durable`, so first */
    put32(p + 8, (uint32_t)r->len);
    p[12] = r->kind;
    p[13] = r->type;
    p[14] = (uint8_t)RECORD_MAGIC;
    p[15] = (uint8_t)(RECORD_MAGIC >> 8);
    put64(p + 16, r->term);
    put64(p + 24, r->index);
    put64(p + 32, r->durable);
    if (r->len > 0) {
        memcpy(p + RECORD_HEADER_BYTES, r->data, r->len);
    }
    put64(p, hash64_seed(p + 8, size - 8, hash_mix(node_id, position)));
    out->len += size;
}

enum format_status record_decode(const uint8_t *p, size_t len, uint64_t node_id, uint64_t position,
                                 struct record *out, size_t *size)
{
    if (len < RECORD_HEADER_BYTES) {
        return bytes_are_zero(p, len) ? FORMAT_BLANK : FORMAT_BAD;
    }
    if (p[14] != (uint8_t)RECORD_MAGIC || p[15] != (uint8_t)(RECORD_MAGIC >> 8)) {
        return bytes_are_zero(p, RECORD_HEADER_BYTES) ? FORMAT_BLANK : FORMAT_BAD;
    }
    size_t payload = get32(p + 8);
    if (payload > ENTRY_BYTES_MAX || record_bytes(payload) > len || p[12] < RECORD_ENTRY ||
        p[12] > RECORD_SEAL) {
        return FORMAT_BAD;
    }
    size_t whole = record_bytes(payload);
    if (get64(p) != hash64_seed(p + 8, whole - 8, hash_mix(node_id, position))) {
        return FORMAT_BAD;
    }
    *out = (struct record){ .kind = p[12],
                            .type = p[13],
                            .term = get64(p + 16),
                            .index = get64(p + 24),
                            .durable = get64(p + 32),
                            .data = p + RECORD_HEADER_BYTES,
                            .len = payload };
    *size = whole;
    return FORMAT_OK;
}

/* ---- Slots -------------------------------------------------------------- */

void slot_encode(uint8_t out[SLOT_BYTES], enum slot_kind kind, uint64_t node_id,
                 const struct slot *s)
{
    frame_begin(out, SLOT_BYTES, slot_magic[kind]);
    put64(out + 16, node_id);
    put64(out + 24, s->sequence);
    put64(out + 32, s->a);
    put64(out + 40, s->b);
    frame_end(out, SLOT_BYTES);
}

enum format_status slot_decode(const uint8_t *p, size_t len, enum slot_kind kind, uint64_t node_id,
                               struct slot *out)
{
    enum format_status s = frame_check(p, len, SLOT_BYTES, slot_magic[kind]);
    if (s != FORMAT_OK) {
        return s;
    }
    *out = (struct slot){ .sequence = get64(p + 24), .a = get64(p + 32), .b = get64(p + 40) };
    return get64(p + 16) == node_id ? FORMAT_OK : FORMAT_FOREIGN;
}

/* ---- Identity ----------------------------------------------------------- */

void identity_encode(uint8_t out[IDENTITY_BYTES], const struct journal_identity *id)
{
    frame_begin(out, IDENTITY_BYTES, identity_magic);
    put64(out + 16, id->node_id);
    put64(out + 24, id->cluster_id);
    memcpy(out + 32, id->address, strnlen(id->address, sizeof id->address - 1));
    frame_end(out, IDENTITY_BYTES);
}

enum format_status identity_decode(const uint8_t *p, size_t len, struct journal_identity *out)
{
    enum format_status s = frame_check(p, len, IDENTITY_BYTES, identity_magic);
    if (s == FORMAT_OK) {
        *out = (struct journal_identity){ .node_id = get64(p + 16), .cluster_id = get64(p + 24) };
        memcpy(out->address, p + 32, sizeof out->address - 1);
    }
    return s == FORMAT_BLANK ? FORMAT_BAD : s;
}

/* ---- Snapshots ---------------------------------------------------------- */

void snapshot_header_encode(struct buf *out, const struct snapshot_header *h, const void *meta)
{
    uint8_t p[SNAPSHOT_HEADER_BYTES];
    frame_begin(p, sizeof p, snapshot_magic);
    put32(p + 12, h->meta_len);
    put64(p + 16, h->index);
    put64(p + 24, h->term);
    put64(p + 32, hash64(meta, h->meta_len));
    frame_end(p, sizeof p);
    buf_put(out, p, sizeof p);
    buf_put(out, meta, h->meta_len);
}

enum format_status snapshot_header_decode(const uint8_t *p, size_t len, struct snapshot_header *out)
{
    enum format_status s = frame_check(p, len, SNAPSHOT_HEADER_BYTES, snapshot_magic);
    if (s == FORMAT_OK) {
        *out = (struct snapshot_header){ .index = get64(p + 16),
                                         .term = get64(p + 24),
                                         .meta_len = get32(p + 12) };
        return out->meta_len <= SNAPSHOT_META_MAX ? FORMAT_OK : FORMAT_BAD;
    }
    return s == FORMAT_BLANK ? FORMAT_BAD : s;
}

bool snapshot_meta_ok(const uint8_t header[SNAPSHOT_HEADER_BYTES], const uint8_t *meta, size_t len)
{
    return get64(header + 32) == hash64(meta, len);
}

static uint64_t block_seed(const struct snapshot_header *h, uint64_t number)
{
    return hash_mix(hash_mix(h->index, h->term), number);
}

static uint64_t block_sum(const struct snapshot_header *h, uint64_t number, const void *data,
                          size_t len)
{
    return hash64_seed(data, len, hash_mix(block_seed(h, number), len));
}

void snapshot_block_encode(uint8_t out[SNAPSHOT_BLOCK_HEADER], const struct snapshot_header *h,
                           uint64_t number, const void *data, size_t len)
{
    put32(out, BLOCK_MAGIC);
    put32(out + 4, (uint32_t)len);
    put64(out + 8, block_sum(h, number, data, len));
}

size_t snapshot_block_len(const uint8_t p[SNAPSHOT_BLOCK_HEADER])
{
    size_t len = get32(p + 4);
    return get32(p) == BLOCK_MAGIC && len <= SNAPSHOT_BLOCK_MAX ? len : 0;
}

bool snapshot_block_ok(const uint8_t p[SNAPSHOT_BLOCK_HEADER], const struct snapshot_header *h,
                       uint64_t number, const void *data, size_t len)
{
    return get64(p + 8) == block_sum(h, number, data, len);
}

/* Trailer: the sum is seeded with the header, so it ends only this snapshot. */
static uint64_t trailer_sum(const uint8_t *p, const struct snapshot_header *h)
{
    return hash64_seed(p, SNAPSHOT_TRAILER_BYTES - 8, block_seed(h, UINT64_MAX));
}

void snapshot_trailer_encode(uint8_t out[SNAPSHOT_TRAILER_BYTES], const struct snapshot_header *h,
                             const struct snapshot_trailer *t)
{
    memcpy(out, trailer_magic, 8);
    put64(out + 8, t->bytes);
    put64(out + 16, t->blocks);
    put64(out + 24, trailer_sum(out, h));
}

enum format_status snapshot_trailer_decode(const uint8_t *p, size_t len,
                                           const struct snapshot_header *h,
                                           struct snapshot_trailer *out)
{
    if (len != SNAPSHOT_TRAILER_BYTES || memcmp(p, trailer_magic, 8) != 0 ||
        get64(p + 24) != trailer_sum(p, h)) {
        return FORMAT_BAD;
    }
    *out = (struct snapshot_trailer){ .bytes = get64(p + 8), .blocks = get64(p + 16) };
    return FORMAT_OK;
}
