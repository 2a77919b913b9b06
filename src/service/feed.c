/* Feeds: what scripts follow as it happens (policy/request.h). Seat changes are watches;
 * requests are told as they arrive at this node, before anything is decided about them:
 *
 *   {"time":1795477303120,"client":7,"user":"app","command":"hold","words":["1","ann","A1"]}
 *
 * The value of every --code and --password is replaced by ***: a monitor is for operators, but
 * a code that opens a sale is nobody's to read. Costs one branch per request while nobody
 * monitors. */
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "service/service_impl.h"

#define MONITOR_WORDS_MAX 64 /* of one request: a line is for reading */
#define MONITOR_WORD_MAX  256

struct watch *feed_open(void *service, int kind, struct span event, feed_cb cb, void *cb_arg)
{
    struct service *s = service;
    struct watch **list = kind == FEED_REQUESTS  ? &s->monitors
                          : kind == FEED_COMMITS ? &s->commits
                                                 : NULL;
    struct watch *w = watch_add(s, list, event);
    if (w != NULL) {
        w->feed = cb;
        w->arg = cb_arg;
    }
    return w;
}

void feed_close(void *service, struct watch *w)
{
    (void)service;
    service_unwatch(w);
}

static void put_word(struct buf *b, struct span word)
{
    static const char mark[] = "...";
    char text[MONITOR_WORD_MAX + sizeof mark];
    struct span shown = text_beginning(word, MONITOR_WORD_MAX);
    if (shown.len == word.len) {
        json_put_string(b, word);
        return;
    }
    memcpy(text, shown.data, shown.len);
    memcpy(text + shown.len, mark, sizeof mark);
    json_put_string(b, span_make(text, shown.len + sizeof mark - 1));
}

static void put_words(struct buf *b, const struct request *r)
{
    json_put_key(b, "words");
    buf_put_u8(b, '[');
    for (size_t i = 1; i < r->argc && i <= MONITOR_WORDS_MAX; i++) {
        struct span word = r->argv[i];
        size_t keep = command_hides_after(word);
        json_put_comma(b);
        if (command_hides_next(r->argv[i - 1])) {
            buf_put_str(b, "\"***\"");
        } else if (keep > 0) {
            buf_printf(b, "\"%.*s***\"", (int)keep, word.data);
        } else {
            put_word(b, word);
        }
    }
    if (r->argc > MONITOR_WORDS_MAX + 1) {
        json_put_comma(b);
        buf_put_str(b, "\"...\"");
    }
    buf_put_u8(b, ']');
}

void monitor_tell(struct service *s, const struct request *r)
{
    struct buf b = BUF_INIT;
    buf_put_u8(&b, '{');
    json_field_int(&b, "time", (int64_t)s->env->ops->wall_ms(s->env));
    json_field_int(&b, "client", (int64_t)r->client);
    json_field_string(&b, "user", r->user.name.data != NULL ? r->user.name : span_of(""));
    json_field_string(&b, "command", r->argc > 0 ? r->argv[0] : span_of(""));
    put_words(&b, r);
    buf_put_u8(&b, '}');
    if (!b.failed) {
        feed_tell(s, s->monitors, 0, span_make((const char *)b.data, b.len));
    }
    buf_free(&b);
}
