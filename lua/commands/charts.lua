--- The layouts of houses, each for all its events.
local plan = require "usher.plan"
local shared = require "usher.shared"

local function summary_of(tx, id)
    local chart = tx:chart(id)
    return { chart = id, seats = chart.seats, rows = chart.rows, areas = chart.areas,
        categories = json.list(chart.categories) }
end

local function charts(tx, req)
    local ids, list = tx:charts(req.after, shared.LIST_MAX), {}
    for i, id in ipairs(ids) do list[i] = summary_of(tx, id) end
    local last = ids[#ids]
    local more = #ids == shared.LIST_MAX and #tx:charts(last, 1) > 0
    return shared.list(list, more, more and "charts --after " .. last)
end

return {
    command {
        name = "add-chart", group = "events", kind = "transaction", access = "operator",
        summary = "Add the seating chart of a house",
        example = [[add-chart hall '[{"row":"A","seats":10},{"row":"B","seats":12}]']],
        args = {
            { "id", "string", help = "the new chart's name" },
            { "plan", "json", meta = "JSON|@FILE",
                help = "rows, a full plan, or a plan of pretix's seating editor" },
        },
        run = function(tx, req)
            tx:chart_put(req.id, plan.read(json.decode(req.plan)))
            return summary_of(tx, req.id)
        end,
        again = function(tx, req) return summary_of(tx, req.id) end,
    },
    command {
        name = "charts", group = "events", kind = "transaction", access = "operator", read = "local",
        summary = "List the seating charts", example = "charts",
        options = { { "after", "string", meta = "CHART", help = "go on behind this one" } },
        run = charts,
    },
}
