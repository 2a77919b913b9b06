/* Answers as text: table, json, lua, csv; and what the console knows of a line while it is
 * typed. The work is done in Lua (lua/usher/{render,live,assist}.lua) in a state of the
 * client's own. */
#ifndef USHER_CONSOLE_RENDER_H
#define USHER_CONSOLE_RENDER_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"

struct render;

/* format NULL: "table". BADARG with the nearest for an unknown one. `out` decides width
 * and colour: a terminal has both (unless NO_COLOR is set), a pipe has neither. */
int render_new(const char *format, FILE *out, struct render **result, struct error *e);
void render_free(struct render *r);
/* Another format, as render_new takes it. */
int render_format(struct render *r, const char *format, struct error *e);
/* What does not fit on the screen is shown page by page, if `out` is a terminal. */
void render_paged(struct render *r, bool paged);
bool render_on_terminal(const struct render *r);
/* Prints one answer (JSON text; columns a JSON list or empty) and a newline. */
void render_print(struct render *r, struct span json, struct span columns);
/* A statement begins: nothing before it is redrawn. */
void render_begin(struct render *r);
/* One frame of what a node command says while it runs (docs/protocol.md): out, value,
 * progress, live, change, row, columns. */
void render_frame(struct render *r, struct span kind, struct span text, struct span columns);
/* Prints "CODE message; hint" (and the traceback, if any) on stderr. */
void render_error(const struct error *e, struct span traceback);

/* Calls a function of assist.lua with `count` texts. At most two results are kept, as text
 * ("" when nil); returns whether the first one was not nil. A failure is a nil. */
bool render_assist(struct render *r, const char *function, const struct span *args, size_t count,
                   struct buf *first, struct buf *second);
/* As that, but the first argument is JSON, given decoded. */
bool render_assist_json(struct render *r, const char *function, const struct span *args,
                        size_t count, struct buf *first, struct buf *second);
int render_width(const struct render *r);

#endif
