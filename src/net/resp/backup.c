/* USHER.BACKUP [--stale]: a backup as a stream, for the program that writes it into a file on
 * the operator's machine (docs/protocol.md).
 *
 *   ["data", bytes] ...   the file, piece by piece
 *   ["done", status, error, facts]
 *
 * The next piece is made when the client has taken most of what is out, so a slow one holds
 * no more than two pieces in memory. A client that goes away ends it; answers of requests
 * behind it wait for their turn as always. One backup at a time on a connection. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "cluster/backup.h"
#include "net/resp/conn.h"

struct conn_backup {
    struct conn *conn;
    struct slot *slot;
    struct cluster_backup *backup;
    bool asked; /* a piece is being made */
};

void backup_facts(struct buf *b, const struct backup_head *h, uint64_t bytes)
{
    char text[24];
    buf_put_str(b, "{");
    json_field_int(b, "index", (int64_t)h->index);
    json_field_int(b, "bytes", (int64_t)bytes);
    (void)snprintf(text, sizeof text, "%016" PRIx64, h->digest);
    json_field_string(b, "digest", span_of(text));
    json_field_int(b, "time", (int64_t)h->time_ms);
    (void)snprintf(text, sizeof text, "%016" PRIx64, h->cluster_id);
    json_field_string(b, "cluster", span_of(text));
    json_field_string(b, "node", span_of(h->address));
    buf_put_str(b, "}");
}

static void end(struct conn_backup *x, const struct error *e)
{
    char line[ERROR_MESSAGE_BYTES + ERROR_HINT_BYTES + 64] = "";
    struct buf facts = BUF_INIT;
    struct buf *b = slot_out(x->slot);
    if (e != NULL) {
        (void)error_format(e, line, sizeof line);
    } else {
        backup_facts(&facts, cluster_backup_head(x->backup), cluster_backup_bytes(x->backup));
    }
    put_array(b, 4);
    put_text(b, "done");
    put_int(b, e != NULL ? 1 : 0);
    put_text(b, line);
    put_bulk(b, span_make((const char *)facts.data, facts.len));
    buf_free(&facts);
    struct slot *slot = x->slot;
    struct conn *c = x->conn;
    c->backup = NULL;
    cluster_backup_free(x->backup);
    mem_free(x);
    slot_done(slot);
}

static void on_piece(void *arg, int status, const struct error *e, struct buf *bytes, bool last)
{
    struct conn_backup *x = arg;
    x->asked = false;
    if (status == 0) {
        struct buf *b = slot_out(x->slot);
        put_array(b, 2);
        put_text(b, "data");
        put_bulk(b, span_make((const char *)bytes->data, bytes->len));
    }
    if (status != 0 || last) {
        end(x, status != 0 ? e : NULL);
    } else {
        resp_conn_touch(x->conn); /* the pump goes on when this was written */
    }
}

void backup_pump(struct conn *c)
{
    struct conn_backup *x = c->backup;
    if (x == NULL || x->asked || c->closing) {
        return;
    }
    if (c->eof) {
        resp_conn_kill(c);
        return;
    }
    if (c->out.len + c->sending.len + x->slot->answer.len <= STREAM_BYTES_SOFT / 2) {
        x->asked = true;
        cluster_backup_next(x->backup, on_piece, x);
    }
}

void backup_free(struct conn *c)
{
    struct conn_backup *x = c->backup;
    if (x != NULL) {
        c->backup = NULL;
        cluster_backup_free(x->backup);
        if (!c->closing) {
            verb_fail(x->slot, ERR_CANCELED, "", "the backup was ended");
        }
        mem_free(x);
    }
}

bool backup_verb(struct conn *c, struct slot *x)
{
    if (!text_ieq(x->argv[0], span_of("USHER.BACKUP"))) {
        return false;
    }
    bool local = x->argc == 2 && span_is(x->argv[1], "--stale");
    struct cluster *cluster = service_cluster(c->server->o.service);
    if (c->user.access < ACCESS_ADMIN) {
        verb_fail(x, c->user.name.len == 0 ? ERR_NOAUTH : ERR_NOPERM,
                  "AUTH as a user with this access", "a backup needs access `admin`");
    } else if (x->argc > 2 || (x->argc == 2 && !local)) {
        verb_fail(x, ERR_BADARG, "USHER.BACKUP [--stale]", "this is not the backup's protocol");
    } else if (cluster == NULL) {
        verb_fail(x, ERR_NOTREADY, "try again in a moment", "this node is starting");
    } else if (c->backup != NULL) {
        verb_fail(x, ERR_BUSY, "wait for it, or use another connection",
                  "a backup is under way on this connection");
    } else {
        struct conn_backup *n = mem_zalloc(sizeof *n);
        if (n != NULL && (n->backup = cluster_backup_new(cluster, local)) != NULL) {
            n->conn = c;
            n->slot = x;
            x->kind = SLOT_RUNNING;
            c->backup = n;
            resp_conn_touch(c);
        } else {
            mem_free(n);
            verb_fail(x, ERR_NOMEM, "try again", "out of memory");
        }
    }
    return true;
}
