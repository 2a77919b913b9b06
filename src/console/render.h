/* Answers as text: table, json, lua, csv. The work is done in Lua
 * (lua/usher/render.lua) in a state of the client's own. */
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
/* Prints one answer (JSON text; columns a JSON list or empty) and a newline. */
void render_print(struct render *r, struct span json, struct span columns);
/* Prints "CODE message; hint" (and the traceback, if any) on stderr. */
void render_error(const struct error *e, struct span traceback);

#endif
