/* Lua files compiled into the binary (cmake/embed.cmake makes the table from
 * lua/): names are paths below lua/ without the ending, "usher/rules". */
#ifndef USHER_BASE_EMBED_H
#define USHER_BASE_EMBED_H

#include <stddef.h>

struct embed_file {
    const char *name; /* "commands/hold" */
    const char *text; /* NUL-terminated */
    size_t len;
};

extern const struct embed_file embed_files[]; /* ends with name == NULL; sorted by name */

const struct embed_file *embed_find(const char *name); /* NULL when absent */

#endif
