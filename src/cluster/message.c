/* libraft's messages on the wire (see message.h).
 *
 * Form: format version, type, then fixed little-endian fields (docs/wire.md). Fixed
 * widths leave one encoding per message, so "exact length" is one comparison.
 *
 * Invariants of a decoded message
 *   M1 its own term is in 1..MESSAGE_TERM_MAX; no other term in it is larger than that
 *   M2 no index exceeds MESSAGE_TERM_MAX either, so sums of index and count cannot wrap
 *   M3 entry terms never decrease, start at the previous term or later, and end at the
 *      message's term or earlier
 *   M4 every CHANGE, and the configuration of a snapshot, passed
 *      message_check_configuration()
 *   M5 all payloads lie in one raft_malloc block, never NULL when there are entries */
#include "cluster/message.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

#define FORMAT_VERSION    1
#define HEAD_BYTES        2
#define APPEND_HEAD_BYTES (HEAD_BYTES + 4 * 8 + 4)
#define ENTRY_HEAD_BYTES  (8 + 1 + 4)
/* The transport's limit less its own and our heads. */
#define PAYLOAD_BYTES_MAX                                                                          \
    (FRAME_BYTES_MAX - 1024 - APPEND_HEAD_BYTES - MESSAGE_ENTRIES_MAX * ENTRY_HEAD_BYTES)
_Static_assert(ENTRY_BYTES_MAX <= PAYLOAD_BYTES_MAX, "one entry of any size fits into a frame");

#define FLAG_A 1 /* disrupt_leader, vote_granted */
#define FLAG_B 2 /* pre_vote */

/* What the library itself fills in for the version of each message. */
#define VERSION_REQUEST_VOTE   2
#define VERSION_VOTE_RESULT    2
#define VERSION_APPEND_ENTRIES 0
#define VERSION_APPEND_RESULT  2
#define VERSION_INSTALL        0
#define VERSION_TIMEOUT_NOW    0

/* ---- Encoding ------------------------------------------------------------------- */

static void put_flags(struct buf *out, bool a, bool b)
{
    buf_put_u8(out, (uint8_t)((a ? FLAG_A : 0) | (b ? FLAG_B : 0)));
}

static int put_append_entries(const struct raft_append_entries *m, struct buf *out)
{
    unsigned n = 0;
    size_t total = 0;
    while (n < m->n_entries && n < MESSAGE_ENTRIES_MAX) {
        size_t len = m->entries[n].buf.len;
        if (len > ENTRY_BYTES_MAX) {
            return ERR_TOOBIG;
        }
        if (total + len > PAYLOAD_BYTES_MAX) {
            break;
        }
        total += len;
        n++;
    }
    /* One allocation; the transport appends its MAC to these bytes. */
    (void)buf_reserve(out, APPEND_HEAD_BYTES + n * ENTRY_HEAD_BYTES + total + 64);
    buf_put_u64(out, m->term);
    buf_put_u64(out, m->prev_log_index);
    buf_put_u64(out, m->prev_log_term);
    buf_put_u64(out, m->leader_commit);
    buf_put_u32(out, n);
    for (unsigned i = 0; i < n; i++) {
        buf_put_u64(out, m->entries[i].term);
        buf_put_u8(out, (uint8_t)m->entries[i].type);
        buf_put_u32(out, (uint32_t)m->entries[i].buf.len);
    }
    for (unsigned i = 0; i < n; i++) {
        buf_put(out, m->entries[i].buf.base, m->entries[i].buf.len);
    }
    return 0;
}

static int put_install_snapshot(const struct raft_install_snapshot *m, struct buf *out)
{
    struct raft_buffer conf;
    if (m->conf.n == 0) {
        return ERR_BADARG;
    }
    if (raft_configuration_encode(&m->conf, &conf) != 0) {
        return ERR_NOMEM;
    }
    buf_put_u64(out, m->term);
    buf_put_u64(out, m->last_index);
    buf_put_u64(out, m->last_term);
    buf_put_u64(out, m->conf_index);
    buf_put(out, conf.base, conf.len);
    raft_free(conf.base);
    return 0;
}

static int put_body(const struct raft_message *m, struct buf *out)
{
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        buf_put_u64(out, m->request_vote.term);
        buf_put_u64(out, m->request_vote.candidate_id);
        buf_put_u64(out, m->request_vote.last_log_index);
        buf_put_u64(out, m->request_vote.last_log_term);
        put_flags(out, m->request_vote.disrupt_leader, m->request_vote.pre_vote);
        return 0;
    case RAFT_REQUEST_VOTE_RESULT:
        buf_put_u64(out, m->request_vote_result.term);
        put_flags(out, m->request_vote_result.vote_granted, m->request_vote_result.pre_vote);
        buf_put_u16(out, m->request_vote_result.features);
        buf_put_u16(out, m->request_vote_result.capacity);
        return 0;
    case RAFT_APPEND_ENTRIES: return put_append_entries(&m->append_entries, out);
    case RAFT_APPEND_ENTRIES_RESULT:
        buf_put_u64(out, m->append_entries_result.term);
        buf_put_u64(out, m->append_entries_result.rejected);
        buf_put_u64(out, m->append_entries_result.last_log_index);
        buf_put_u16(out, m->append_entries_result.features);
        buf_put_u16(out, m->append_entries_result.capacity);
        return 0;
    case RAFT_INSTALL_SNAPSHOT: return put_install_snapshot(&m->install_snapshot, out);
    case RAFT_TIMEOUT_NOW:
        buf_put_u64(out, m->timeout_now.term);
        buf_put_u64(out, m->timeout_now.last_log_index);
        buf_put_u64(out, m->timeout_now.last_log_term);
        return 0;
    }
    return ERR_BADARG;
}

int message_encode(const struct raft_message *m, struct buf *out)
{
    size_t start = out->len;
    buf_put_u8(out, FORMAT_VERSION);
    buf_put_u8(out, (uint8_t)m->type);
    int rv = put_body(m, out);
    if (rv == 0 && out->failed) {
        rv = ERR_NOMEM;
    }
    if (rv != 0) {
        out->len = out->len > start ? start : out->len;
    }
    return rv;
}

/* ---- Checks ------------------------------------------------------------------------- */

static bool term_ok(uint64_t term) { return term >= 1 && term <= MESSAGE_TERM_MAX; }
static bool index_ok(uint64_t index) { return index <= MESSAGE_TERM_MAX; }

/* A position in a log: index 0 has term 0; no entry is newer than the message. */
static bool position_ok(uint64_t index, uint64_t term, uint64_t newest)
{
    return index_ok(index) && term <= newest && (index != 0 || term == 0);
}

/* One server of an encoded configuration; false when it is malformed. */
static bool read_server(struct reader *r, uint64_t *id, struct span *address, uint8_t *role)
{
    *id = reader_u64(r);
    const uint8_t *start = r->p;
    const uint8_t *nul = r->failed ? NULL : memchr(start, 0, reader_left(r));
    if (nul == NULL || *id == 0) {
        return false;
    }
    *address = span_make((const char *)start, (size_t)(nul - start));
    (void)reader_raw(r, address->len + 1);
    *role = reader_u8(r);
    if (r->failed || address->len == 0 || address->len > ADDRESS_BYTES_MAX ||
        memchr(address->data, ':', address->len) == NULL) {
        return false;
    }
    for (size_t i = 0; i < address->len; i++) {
        if ((uint8_t)address->data[i] <= 0x20 || (uint8_t)address->data[i] >= 0x7f) {
            return false;
        }
    }
    return *role == RAFT_STANDBY || *role == RAFT_VOTER || *role == RAFT_SPARE;
}

int message_check_configuration(const void *data, size_t len, struct error *e)
{
    struct {
        uint64_t id;
        struct span address;
    } seen[CLUSTER_MEMBERS_MAX];
    struct reader r;
    reader_init(&r, data, len);
    if (len % 8 != 0 || reader_u8(&r) != 1) {
        return error_set(e, ERR_CORRUPT, "configuration: unknown format");
    }
    uint64_t n = reader_u64(&r);
    if (r.failed || n == 0 || n > CLUSTER_MEMBERS_MAX) {
        return error_set(e, ERR_CORRUPT, "configuration: %llu servers", (unsigned long long)n);
    }
    unsigned voters = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t role;
        if (!read_server(&r, &seen[i].id, &seen[i].address, &role)) {
            return error_set(e, ERR_CORRUPT, "configuration: server %zu is malformed", i + 1);
        }
        voters += role == RAFT_VOTER;
        for (size_t j = 0; j < i; j++) {
            if (seen[j].id == seen[i].id || span_eq(seen[j].address, seen[i].address)) {
                return error_set(e, ERR_CORRUPT, "configuration: a server stands twice");
            }
        }
    }
    if (voters == 0) {
        return error_set(e, ERR_CORRUPT, "configuration: no voter");
    }
    if (reader_left(&r) >= 8) {
        return error_set(e, ERR_CORRUPT, "configuration: bytes left over");
    }
    while (reader_left(&r) > 0) {
        if (reader_u8(&r) != 0) {
            return error_set(e, ERR_CORRUPT, "configuration: padding is not zero");
        }
    }
    return 0;
}

/* ---- Decoding ------------------------------------------------------------------------- */

static int malformed(struct error *e, const char *what)
{
    return error_set(e, ERR_CORRUPT, "raft message: %s", what);
}

static bool get_flags(struct reader *r, bool *a, bool *b)
{
    uint8_t flags = reader_u8(r);
    *a = (flags & FLAG_A) != 0;
    *b = (flags & FLAG_B) != 0;
    return (flags & ~(FLAG_A | FLAG_B)) == 0;
}

static int get_request_vote(struct reader *r, struct raft_request_vote *m, struct error *e)
{
    m->version = VERSION_REQUEST_VOTE;
    m->term = reader_u64(r);
    m->candidate_id = reader_u64(r);
    m->last_log_index = reader_u64(r);
    m->last_log_term = reader_u64(r);
    if (!get_flags(r, &m->disrupt_leader, &m->pre_vote)) {
        return malformed(e, "unknown flags");
    }
    if (!term_ok(m->term) || m->candidate_id == 0 ||
        !position_ok(m->last_log_index, m->last_log_term, m->term)) {
        return malformed(e, "impossible vote request");
    }
    return 0;
}

static int get_vote_result(struct reader *r, struct raft_request_vote_result *m, struct error *e)
{
    m->version = VERSION_VOTE_RESULT;
    m->term = reader_u64(r);
    if (!get_flags(r, &m->vote_granted, &m->pre_vote)) {
        return malformed(e, "unknown flags");
    }
    m->features = reader_u16(r);
    m->capacity = reader_u16(r);
    return term_ok(m->term) ? 0 : malformed(e, "impossible term of a vote");
}

static int get_append_result(struct reader *r, struct raft_append_entries_result *m,
                             struct error *e)
{
    m->version = VERSION_APPEND_RESULT;
    m->term = reader_u64(r);
    m->rejected = reader_u64(r);
    m->last_log_index = reader_u64(r);
    m->features = reader_u16(r);
    m->capacity = reader_u16(r);
    if (!term_ok(m->term) || !index_ok(m->rejected) || !index_ok(m->last_log_index)) {
        return malformed(e, "impossible append result");
    }
    return 0;
}

static int get_timeout_now(struct reader *r, struct raft_timeout_now *m, struct error *e)
{
    m->version = VERSION_TIMEOUT_NOW;
    m->term = reader_u64(r);
    m->last_log_index = reader_u64(r);
    m->last_log_term = reader_u64(r);
    if (!term_ok(m->term) || !position_ok(m->last_log_index, m->last_log_term, m->term)) {
        return malformed(e, "impossible transfer of leadership");
    }
    return 0;
}

/* The heads of n entries in `heads`, their payloads at `payloads`: checks all of it. */
static int check_entries(struct reader heads, unsigned n, const struct raft_append_entries *m,
                         struct reader payloads, size_t *total, struct error *e)
{
    uint64_t newest = m->prev_log_term;
    *total = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t term = reader_u64(&heads);
        uint8_t type = reader_u8(&heads);
        uint32_t len = reader_u32(&heads);
        if (!term_ok(term) || term < newest || term > m->term) {
            return malformed(e, "an entry's term is out of order");
        }
        newest = term;
        if (len > ENTRY_BYTES_MAX) {
            return malformed(e, "an entry is too big");
        }
        const uint8_t *data = reader_raw(&payloads, len);
        if (data == NULL) {
            return malformed(e, "payloads are cut off");
        }
        if (type != RAFT_COMMAND && type != RAFT_BARRIER && type != RAFT_CHANGE) {
            return malformed(e, "unknown type of entry");
        }
        if (type == RAFT_CHANGE && message_check_configuration(data, len, e) != 0) {
            error_prefix(e, "raft message");
            return ERR_CORRUPT;
        }
        *total += len;
    }
    return reader_left(&payloads) == 0 ? 0 : malformed(e, "bytes left over");
}

static int get_append_entries(struct reader *r, struct raft_append_entries *m, struct error *e)
{
    m->version = VERSION_APPEND_ENTRIES;
    m->term = reader_u64(r);
    m->prev_log_index = reader_u64(r);
    m->prev_log_term = reader_u64(r);
    m->leader_commit = reader_u64(r);
    unsigned n = reader_u32(r);
    m->entries = NULL;
    m->n_entries = 0;
    if (r->failed || !term_ok(m->term) || !index_ok(m->leader_commit) ||
        !position_ok(m->prev_log_index, m->prev_log_term, m->term) ||
        (m->prev_log_index != 0 && m->prev_log_term == 0)) {
        return malformed(e, "impossible append");
    }
    if (n > MESSAGE_ENTRIES_MAX || reader_left(r) < (size_t)n * ENTRY_HEAD_BYTES) {
        return malformed(e, "too many entries");
    }
    struct reader heads, payloads;
    reader_init(&heads, reader_raw(r, (size_t)n * ENTRY_HEAD_BYTES), (size_t)n * ENTRY_HEAD_BYTES);
    const uint8_t *data = r->p;
    size_t len = reader_left(r), total;
    reader_init(&payloads, reader_raw(r, len), len);
    int rv = check_entries(heads, n, m, payloads, &total, e);
    if (rv != 0 || n == 0) {
        return rv;
    }
    /* The library tells "no batch" by NULL, so even empty payloads get a block. */
    uint8_t *batch = raft_malloc(total > 0 ? total : 8);
    m->entries = raft_malloc(n * sizeof *m->entries);
    if (batch == NULL || m->entries == NULL) {
        raft_free(batch);
        raft_free(m->entries);
        m->entries = NULL;
        return error_set(e, ERR_NOMEM, "no memory for %u entries of %zu bytes", n, total);
    }
    memcpy(batch, data, total);
    m->n_entries = n;
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        struct raft_entry *entry = &m->entries[i];
        entry->term = reader_u64(&heads);
        entry->type = (enum raft_entry_type)reader_u8(&heads);
        entry->buf.len = reader_u32(&heads);
        entry->buf.base = batch + at;
        entry->batch = batch;
        at += entry->buf.len;
    }
    return 0;
}

static int get_install_snapshot(struct reader *r, struct raft_install_snapshot *m, struct error *e)
{
    m->version = VERSION_INSTALL;
    m->term = reader_u64(r);
    m->last_index = reader_u64(r);
    m->last_term = reader_u64(r);
    m->conf_index = reader_u64(r);
    m->data.base = NULL;
    m->data.len = 0;
    if (r->failed || !term_ok(m->term) || m->last_index == 0 || m->last_term == 0 ||
        !position_ok(m->last_index, m->last_term, m->term) || m->conf_index == 0 ||
        m->conf_index > m->last_index) {
        return malformed(e, "impossible snapshot");
    }
    size_t len = reader_left(r);
    const uint8_t *data = reader_raw(r, len);
    if (message_check_configuration(data, len, e) != 0) {
        error_prefix(e, "raft message");
        return ERR_CORRUPT;
    }
    struct raft_buffer conf = { (void *)(uintptr_t)data, len };
    int rv = raft_configuration_decode(&conf, &m->conf);
    if (rv != 0) {
        return rv == RAFT_NOMEM ? error_set(e, ERR_NOMEM, "no memory for a configuration")
                                : malformed(e, "the library refuses the configuration");
    }
    return 0;
}

int message_decode(const uint8_t *data, size_t len, struct raft_message *out, struct error *e)
{
    struct reader r;
    memset(out, 0, sizeof *out);
    reader_init(&r, data, len);
    if (reader_u8(&r) != FORMAT_VERSION) {
        return malformed(e, "unknown format");
    }
    uint8_t type = reader_u8(&r);
    int rv;
    switch (type) {
    case RAFT_REQUEST_VOTE: rv = get_request_vote(&r, &out->request_vote, e); break;
    case RAFT_REQUEST_VOTE_RESULT: rv = get_vote_result(&r, &out->request_vote_result, e); break;
    case RAFT_APPEND_ENTRIES: rv = get_append_entries(&r, &out->append_entries, e); break;
    case RAFT_APPEND_ENTRIES_RESULT:
        rv = get_append_result(&r, &out->append_entries_result, e);
        break;
    case RAFT_INSTALL_SNAPSHOT: rv = get_install_snapshot(&r, &out->install_snapshot, e); break;
    case RAFT_TIMEOUT_NOW: rv = get_timeout_now(&r, &out->timeout_now, e); break;
    default: return malformed(e, "unknown type");
    }
    if (rv != 0) {
        return rv;
    }
    out->type = (enum raft_message_type)type;
    if (r.failed || reader_left(&r) != 0) {
        message_release(out);
        return malformed(e, "wrong length");
    }
    return 0;
}

/* ---- Splitting and ending ----------------------------------------------------------- */

bool message_split(struct raft_message *m, struct raft_message *rest, int *status)
{
    *status = 0;
    if (m->type != RAFT_APPEND_ENTRIES) {
        return false;
    }
    struct raft_append_entries *a = &m->append_entries;
    unsigned k = 1;
    while (k < a->n_entries && a->entries[k].type != RAFT_CHANGE) {
        k++;
    }
    if (k >= a->n_entries) {
        return false;
    }
    unsigned n = a->n_entries - k;
    size_t total = 0;
    for (unsigned i = 0; i < n; i++) {
        total += a->entries[k + i].buf.len;
    }
    uint8_t *batch = raft_malloc(total > 0 ? total : 8);
    struct raft_entry *entries = raft_malloc(n * sizeof *entries);
    if (batch == NULL || entries == NULL) {
        raft_free(batch);
        raft_free(entries);
        *status = ERR_NOMEM;
        return false;
    }
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        entries[i] = a->entries[k + i];
        memcpy(batch + at, entries[i].buf.base, entries[i].buf.len);
        entries[i].buf.base = batch + at;
        entries[i].batch = batch;
        at += entries[i].buf.len;
    }
    *rest = *m;
    rest->append_entries.prev_log_index = a->prev_log_index + k;
    rest->append_entries.prev_log_term = a->entries[k - 1].term;
    rest->append_entries.entries = entries;
    rest->append_entries.n_entries = n;
    a->n_entries = k;
    return true;
}

void message_consumed(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES) {
        raft_free(m->append_entries.entries);
        m->append_entries.entries = NULL;
        m->append_entries.n_entries = 0;
    }
}

void message_release(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
    } else if (m->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_configuration_init(&m->install_snapshot.conf);
    }
    message_consumed(m);
}
