# Turns knots into other speeds: a page and a little API. A Rack app is what answers `call` with status, fields and body.

require "json"

$stdout.sync = true # Ruby keeps what goes to a pipe until there is more of it: a log would come late

class Knots
  KMH = 1.852 # exactly: a nautical mile is 1,852 m
  MS = KMH / 3.6
  MPH = KMH / 1.609344
  KNOTS_MAX = 299_792_458 / MS # light

  METHODS = %w[GET HEAD POST].freeze

  FORM = <<~HTML
    <!doctype html><html lang="en"><meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
    <link rel="icon" href="data:,"><title>Knots</title>
    <body style="font: 1.2rem/1.5 system-ui; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; text-align: center">
    <h1>%<said>s</h1><form><label>Knots <input name="knots" size="8" inputmode="decimal" value="%<knots>s"></label>
    <button>Turn</button></form></body></html>
  HTML

  def call(env)
    request = Rack::Request.new(env)
    unless METHODS.include?(request.request_method)
      return answer(405, "text/plain", "GET it, or POST a form\n", "allow" => METHODS.join(", "))
    end

    case request.path_info
    when "/" then page(request)
    when "/speed" then api(request)
    else answer(404, "text/plain", "Nothing here: / is a page, /speed?knots=12 is JSON\n")
    end
  rescue ArgumentError, Rack::QueryParser::ParameterTypeError, Rack::QueryParser::InvalidParameterError
    answer(400, "text/plain", "knots is a number from 0 to the speed of light\n")
  end

  private

  def page(request)
    knots = request.params.key?("knots") ? knots(request) : 12.0
    speeds = speeds(knots)
    said = format("%<knots>g kn is %<kmh>.1f km/h", speeds)
    answer(200, "text/html; charset=utf-8", format(FORM, said: said, knots: format("%g", knots)))
  end

  def api(request)
    answer(200, "application/json", "#{JSON.generate(speeds(knots(request)))}\n")
  end

  def knots(request)
    knots = Float(request.params["knots"].to_s)
    raise ArgumentError unless knots.between?(0, KNOTS_MAX)

    knots
  end

  def speeds(knots)
    { knots: knots, kmh: (knots * KMH).round(3), ms: (knots * MS).round(3), mph: (knots * MPH).round(3) }
  end

  def answer(status, type, body, fields = {})
    [status, { "content-type" => type }.merge(fields), [body]]
  end
end

use Rack::ContentLength
use Rack::Head
run Knots.new
