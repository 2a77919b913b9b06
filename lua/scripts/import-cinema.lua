--- Imports a cinema (theaters, movies, showtimes) as charts and events:
---     usher run lua/scripts/import-cinema.lua @lua/scripts/cinema.json
--- A theater becomes the chart `theater-ID`, a showtime the event `ID`; seats that were
--- paid for become booked orders of the customer `import`. Run again, it adds what is new.
local text = arg[1]
if not text then
    print("usage: usher run import-cinema.lua @cinema.json")
    exit(2)
end

local cinema = json.decode(text)
local added, kept, booked, lapsed = 0, 0, 0, 0

--- Calls a command that makes something; one that is already there is left as it is.
local function make(...)
    local answer, message, code = usher.call(...)
    if answer then
        added = added + 1
        return true
    end
    if code ~= "CONFLICT" then error(("%s: %s %s"):format((...), code, message), 0) end
    kept = kept + 1
    return false
end

local movies = {}
for _, movie in ipairs(cinema.movies or {}) do movies[movie.id] = movie end

for _, theater in ipairs(cinema.theaters or {}) do
    make("add-chart", "theater-" .. theater.id, json.encode(theater.seats))
end

for _, show in ipairs(cinema.showtimes or {}) do
    local id, movie = tostring(show.id), movies[show.movieId] or {}
    local attributes = json.encode({ title = movie.title, time = show.time, theater = show.theaterId,
        duration = movie.duration })
    if make("add-event", id, "theater-" .. show.theaterId, "--attributes", attributes) then
        for seat, reserved in pairs(show.reservedSeats or {}) do
            if reserved.paid then
                assert(usher.call("book", id, "import", seat))
                booked = booked + 1
            else
                lapsed = lapsed + 1
            end
        end
    end
end

print(("%d charts and events added, %d were there; %d seats booked, %d unpaid reservations had lapsed")
    :format(added, kept, booked, lapsed))
