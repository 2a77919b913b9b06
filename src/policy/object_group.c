/* event:table(name) and event:sections(): seats by what they belong to. */
#include <string.h>

#include "policy/vm.h"

/* event:table(name) -> list of its seats in chart order, nil when there is no such table */
int event_table(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    struct span name = vm_check_span(L, 2, "the table's name");
    uint32_t n = chart_seats(ev->chart);
    lua_Integer found = 0;
    sandbox_charge(L, n / 8 + 1);
    lua_newtable(L);
    for (uint32_t i = 0; i < n; i++) {
        struct chart_seat seat;
        chart_seat(ev->chart, i, &seat);
        if (seat.table >= 0 && span_eq(chart_table_name(ev->chart, (uint32_t)seat.table), name)) {
            object_push_seat(L, ev->number, i);
            lua_rawseti(L, -2, ++found);
        }
    }
    if (found == 0) {
        lua_pushnil(L);
    }
    return 1;
}

/* event:sections() -> list of {name=, first=seat, free=, held=, booked=, blocked=} in chart
 * order; a section without seats is left out. */
int event_sections(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    const struct store *s = vm_store(L);
    uint32_t rows = chart_rows(ev->chart);
    lua_Integer found = 0;
    lua_newtable(L);
    for (uint32_t r = 0; r < rows;) {
        struct chart_row row = chart_row(ev->chart, r);
        uint32_t section = row.section, first = row.first, counts[SEAT_STATUS_COUNT] = { 0 };
        for (; r < rows && (row = chart_row(ev->chart, r)).section == section; r++) {
            sandbox_charge(L, row.count / 8 + 1);
            for (uint32_t i = row.first; i < row.first + row.count; i++) {
                counts[store_seat(s, ev, i)]++;
            }
        }
        if (counts[0] + counts[1] + counts[2] + counts[3] == 0) {
            continue;
        }
        lua_createtable(L, 0, 6);
        vm_push_span(L, chart_section_name(ev->chart, section));
        lua_setfield(L, -2, "name");
        object_push_seat(L, ev->number, first);
        lua_setfield(L, -2, "first");
        for (int i = 0; i < SEAT_STATUS_COUNT; i++) {
            lua_pushinteger(L, counts[i]);
            lua_setfield(L, -2, seat_status_name(i));
        }
        lua_rawseti(L, -2, ++found);
    }
    return 1;
}
