--- add-chart: the layout of a house, for all its events.
local plan = require "usher.plan"

local function summary_of(tx, id)
    local chart = tx:chart(id)
    return { chart = id, seats = chart.seats, rows = chart.rows, areas = chart.areas,
        categories = json.list(chart.categories) }
end

return command {
    name = "add-chart",
    group = "events",
    kind = "transaction",
    access = "operator",
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
}
