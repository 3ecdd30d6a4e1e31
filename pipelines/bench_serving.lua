-- Requests for wrk, one thread. Arguments: path; API key, or "" for none; a file of bodies, one a line, taken in turn.
-- With five more, each request is an event of its own: names of the id and of the time column, the first id, the time
-- of the first event in seconds since 1970, and how many seconds lie between two. The file then holds the rest of each
-- event: JSON members without braces.
local headers, path, rest, asked = {["Content-Type"] = "application/json"}, nil, {}, 0
local made, id_column, time_column, first_id, begin, gap = {}, nil, nil, 0, 0, 0

setup = function(thread)
   only = thread
end

init = function(args)
   path = args[1]
   if args[2] ~= "" then headers["X-API-Key"] = args[2] end
   for line in io.lines(args[3]) do rest[#rest + 1] = line end
   if args[4] then
      id_column, time_column = args[4], args[5]
      first_id, begin, gap = tonumber(args[6]), tonumber(args[7]), tonumber(args[8])
   else
      for place, body in ipairs(rest) do made[place] = wrk.format("POST", path, headers, body) end
   end
end

request = function()
   local number = asked
   asked = asked + 1
   count = asked
   local place = number % #rest + 1
   if id_column == nil then return made[place] end
   local at = os.date("!%Y-%m-%dT%H:%M:%SZ", begin + math.floor(number * gap))
   local event = string.format('{"%s":%.0f,"%s":"%s",%s}', id_column, first_id + number, time_column, at, rest[place])
   return wrk.format("POST", path, headers, event)
end

done = function(summary, latency)
   local errors = summary.errors
   print(string.format(
      '{"requests":%d,"seconds":%f,"asked":%d,"p50_ms":%f,"p99_ms":%f,"refused":%d,"broken":%d}',
      summary.requests, summary.duration / 1e6, only:get("count"), latency:percentile(50) / 1e3,
      latency:percentile(99) / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
