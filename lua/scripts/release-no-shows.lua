--- Gives the seats of people who did not come back to the box office:
---     usher run lua/scripts/release-no-shows.lua EVENT @arrived.txt [--yes]
--- arrived.txt holds the orders that were seen at the door, one in a line (what follows a blank is
--- ignored). Without --yes it only says what it would do.
local event, arrived, yes = arg[1], arg[2], arg[3] == "--yes"
if not event or not arrived or (arg[3] and not yes) then
    print("usage: usher run release-no-shows.lua EVENT @arrived.txt [--yes]")
    exit(2)
end

local seen, lines = {}, 0
for line in arrived:gmatch("[^\r\n]+") do
    local order = line:match("^%s*(%S+)")
    if order then
        seen[order] = true
        lines = lines + 1
    end
end

local released, seats, kept, failed = 0, 0, 0, 0
local after
repeat
    local list, message, code = usher.call("orders", "--event", event, "--status", "booked", "--limit", 500,
        "--linearizable", table.unpack(after and { "--after", after } or {}))
    if not list then
        print(code .. " " .. message)
        exit(1)
    end
    after = nil
    for _, order in ipairs(list) do
        if order.order then
            after = order.order
            if seen[order.order] then
                kept = kept + 1
            elseif not yes then
                released, seats = released + 1, seats + #order.seats
            else
                local done, why, refusal = usher.cancel { order.order }
                if done then
                    released, seats = released + 1, seats + #order.seats
                else
                    failed = failed + 1
                    print(("%s: %s %s"):format(order.order, refusal, why))
                end
            end
        end
    end
until not after

print(("%d orders came (%d on the list), %d %s, %d seats %s"):format(kept, lines, released,
    yes and "were released" or "would be released", seats, yes and "are free again" or "would be free"))
if not yes and released > 0 then print("say --yes to do it") end
exit(failed > 0 and 1 or 0)
