--- Imports a seating plan as pretix's editor exports it, and makes an event of it:
---     usher run lua/scripts/import-pretix.lua hall @plan.json [EVENT] [--currency EUR]
--- The plan becomes the chart `hall` (docs/charts.md says how labels and aisles are made). Run
--- again with another EVENT, it uses the chart that is there, if the plan is the same.
local id, text, event = arg[1], arg[2], arg[3]
local currency
for i = 3, #arg do
    if arg[i] == "--currency" then currency = arg[i + 1] end
end
if event and event:sub(1, 2) == "--" then event = nil end
if not id or not text then
    print("usage: usher run import-pretix.lua CHART @plan.json [EVENT] [--currency C]")
    exit(2)
end

local plan, why = json.decode(text)
if type(plan) ~= "table" then
    print("the plan is no JSON: " .. tostring(why))
    exit(1)
elseif not plan.zones then
    print("this is no plan of pretix's editor: it has no `zones`; add-chart takes the other forms")
    exit(1)
end

local made, message, code = usher.call("add-chart", id, text)
if not made and code ~= "CONFLICT" then
    print(code .. " " .. message)
    exit(1)
end

local categories, names, total = {}, {}, 0
for _, zone in ipairs(plan.zones) do
    for _, row in ipairs(zone.rows or {}) do
        for _, seat in ipairs(row.seats or {}) do
            local name = seat.category or "default"
            if not categories[name] then names[#names + 1] = name end
            categories[name] = (categories[name] or 0) + 1
            total = total + 1
        end
    end
end
table.sort(names)
print(("chart %s %s: %d seats in %d zones"):format(id, made and "added" or "was there", total, #plan.zones))
for _, name in ipairs(names) do print(("  %-20s %d"):format(name, categories[name])) end

if event then
    local words = { "add-event", event, id }
    if plan.name then
        words[#words + 1] = "--attributes"
        words[#words + 1] = json.encode { title = plan.name }
    end
    if currency then
        words[#words + 1] = "--currency"
        words[#words + 1] = currency
    end
    local answer, reason, refused = usher.call(table.unpack(words))
    if not answer then
        print(refused .. " " .. reason)
        exit(1)
    end
    print(("event %s is open; next: usher seats %s --full"):format(event, event))
end
