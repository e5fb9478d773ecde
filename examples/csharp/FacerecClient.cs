// A client of facerec's registry of persons over HttpClient: no package beside .NET itself.
// Builds with .NET 6 and newer, .NET Framework 4.6.1 and newer, and Mono.

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Facerec
{
    /// <summary>An answer that is no success: Code says what is wrong, Hint what would be right.</summary>
    public sealed class FacerecException : Exception
    {
        public FacerecException(int status, ErrorBody body)
            : base(body.Message)
        {
            Status = status;
            Code = body.Code;
            Hint = body.Hint;
            CorrelationId = body.CorrelationId;
            Images = body.Images ?? new List<ImageResult>();
        }

        /// <summary>HTTP status.</summary>
        public int Status { get; private set; }

        /// <summary>Such as FaceNotDetected, MultipleFaces, PoorQuality, PersonNotFound.</summary>
        public string Code { get; private set; }

        public string Hint { get; private set; }

        /// <summary>Names the request in the service's log.</summary>
        public string CorrelationId { get; private set; }

        /// <summary>What became of each picture, where a registration was refused.</summary>
        public List<ImageResult> Images { get; private set; }
    }

    [DataContract]
    public sealed class ErrorBody
    {
        [DataMember(Name = "code")] public string Code { get; set; }
        [DataMember(Name = "message")] public string Message { get; set; }
        [DataMember(Name = "hint")] public string Hint { get; set; }
        [DataMember(Name = "correlation_id")] public string CorrelationId { get; set; }
        [DataMember(Name = "images")] public List<ImageResult> Images { get; set; }
    }

    [DataContract]
    public sealed class Person
    {
        [DataMember(Name = "person_id")] public string PersonId { get; set; }
        [DataMember(Name = "embeddings")] public int Embeddings { get; set; }
        [DataMember(Name = "qualities")] public List<int> Qualities { get; set; }
        [DataMember(Name = "version")] public int Version { get; set; }
        [DataMember(Name = "updated_at")] public string UpdatedAt { get; set; }
    }

    [DataContract]
    public sealed class ImageResult
    {
        [DataMember(Name = "index")] public int Index { get; set; }
        [DataMember(Name = "accepted")] public bool Accepted { get; set; }
        [DataMember(Name = "code")] public string Code { get; set; }
        [DataMember(Name = "message")] public string Message { get; set; }
    }

    [DataContract]
    public sealed class Enrolment
    {
        [DataMember(Name = "person")] public Person Person { get; set; }
        [DataMember(Name = "images")] public List<ImageResult> Images { get; set; }
    }

    /// <summary>Who a face is. Match false is an answer: nobody who is enrolled.</summary>
    [DataContract]
    public sealed class Verification
    {
        [DataMember(Name = "match")] public bool Match { get; set; }
        [DataMember(Name = "person_id")] public string PersonId { get; set; }
        [DataMember(Name = "similarity")] public double? Similarity { get; set; }
        [DataMember(Name = "confidence")] public double? Confidence { get; set; }
        [DataMember(Name = "reason")] public string Reason { get; set; }
    }

    [DataContract]
    internal sealed class RegisterRequest
    {
        [DataMember(Name = "person_id")] public string PersonId { get; set; }
        [DataMember(Name = "images")] public List<string> Images { get; set; }
        [DataMember(Name = "metadata")] public Dictionary<string, string> Metadata { get; set; }
    }

    [DataContract]
    internal sealed class UpdateRequest
    {
        [DataMember(Name = "images")] public List<string> Images { get; set; }
        [DataMember(Name = "replace")] public bool Replace { get; set; }
        [DataMember(Name = "version", EmitDefaultValue = false)] public int? Version { get; set; }
    }

    [DataContract]
    internal sealed class VerifyRequest
    {
        [DataMember(Name = "image")] public string Image { get; set; }
        [DataMember(Name = "person_id", EmitDefaultValue = false)] public string PersonId { get; set; }
    }

    /// <summary>Enrols and verifies persons. Safe to use from many threads; make one and keep it.</summary>
    public sealed class FacerecClient : IDisposable
    {
        /// <summary>Times that a request is sent while the service is busy or can not be reached.</summary>
        public const int Attempts = 4;

        private static readonly int[] Temporary = { 408, 429, 502, 503, 504 };

        private readonly HttpClient http;

        /// <param name="address">Of the service, such as http://127.0.0.1:8000.</param>
        /// <param name="apiKey">Sent as X-API-Key; null for a service without keys.</param>
        /// <param name="timeout">Longest time for one attempt.</param>
        public FacerecClient(Uri address, string apiKey = null, TimeSpan? timeout = null)
        {
            http = new HttpClient { BaseAddress = address, Timeout = timeout ?? TimeSpan.FromSeconds(30) };
            if (apiKey != null)
            {
                http.DefaultRequestHeaders.Add("X-API-Key", apiKey);
            }
        }

        /// <summary>Enrol a new person. The same pictures sent once more get the same answer.</summary>
        public Task<Enrolment> RegisterAsync(
            string personId, IEnumerable<byte[]> images, Dictionary<string, string> metadata = null)
        {
            var body = new RegisterRequest
            {
                PersonId = personId,
                Images = images.Select(Convert.ToBase64String).ToList(),
                Metadata = metadata ?? new Dictionary<string, string>(),
            };
            return SendAsync<Enrolment>(HttpMethod.Post, "register", Json(body));
        }

        /// <summary>Give a person more pictures, or others. version: that the person has to have still.</summary>
        public Task<Enrolment> UpdateAsync(
            string personId, IEnumerable<byte[]> images, bool replace = false, int? version = null)
        {
            var body = new UpdateRequest
            {
                Images = images.Select(Convert.ToBase64String).ToList(),
                Replace = replace,
                Version = version,
            };
            return SendAsync<Enrolment>(HttpMethod.Put, PathOf(personId), Json(body));
        }

        /// <summary>Who a face is; with personId, whether it is that one person's.</summary>
        public Task<Verification> VerifyAsync(byte[] image, string personId = null)
        {
            var body = new VerifyRequest { Image = Convert.ToBase64String(image), PersonId = personId };
            return SendAsync<Verification>(HttpMethod.Post, "verify", Json(body));
        }

        public Task<Person> GetAsync(string personId)
        {
            return SendAsync<Person>(HttpMethod.Get, PathOf(personId), null);
        }

        /// <summary>Delete a person with all that is known of it.</summary>
        public Task DeleteAsync(string personId)
        {
            return SendAsync<object>(HttpMethod.Delete, PathOf(personId), null);
        }

        public void Dispose()
        {
            http.Dispose();
        }

        private static string PathOf(string personId)
        {
            return "faces/" + Uri.EscapeDataString(personId);
        }

        private static byte[] Json<T>(T value)
        {
            using (var stream = new MemoryStream())
            {
                Serializer(typeof(T)).WriteObject(stream, value);
                return stream.ToArray();
            }
        }

        private static DataContractJsonSerializer Serializer(Type type)
        {
            return new DataContractJsonSerializer(
                type, new DataContractJsonSerializerSettings { UseSimpleDictionaryFormat = true });
        }

        /// <summary>Send a request; repeat it, with growing pauses, while the service asks for that.</summary>
        private async Task<T> SendAsync<T>(HttpMethod method, string path, byte[] body)
            where T : class
        {
            for (var attempt = 1; ; attempt++)
            {
                TimeSpan pause = TimeSpan.FromMilliseconds(200 * Math.Pow(2, attempt));
                try
                {
                    // A request may be sent only once: each attempt has its own.
                    using (var request = new HttpRequestMessage(method, path))
                    {
                        if (body != null)
                        {
                            request.Content = new ByteArrayContent(body);
                            request.Content.Headers.Add("Content-Type", "application/json");
                        }
                        using (HttpResponseMessage response = await http.SendAsync(request).ConfigureAwait(false))
                        {
                            byte[] answer = await response.Content.ReadAsByteArrayAsync().ConfigureAwait(false);
                            if (response.IsSuccessStatusCode)
                            {
                                return answer.Length == 0 ? null : Read<T>(answer);
                            }
                            var status = (int)response.StatusCode;
                            if (!Temporary.Contains(status) || attempt == Attempts)
                            {
                                throw new FacerecException(status, ReadError(answer));
                            }
                            if (response.Headers.RetryAfter != null && response.Headers.RetryAfter.Delta.HasValue)
                            {
                                pause = response.Headers.RetryAfter.Delta.Value;
                            }
                        }
                    }
                }
                catch (HttpRequestException)
                {
                    // It could not be reached. Every request here may be repeated: none does more the second time.
                    if (attempt == Attempts)
                    {
                        throw;
                    }
                }
                await Task.Delay(pause).ConfigureAwait(false);
            }
        }

        private static T Read<T>(byte[] json)
            where T : class
        {
            using (var stream = new MemoryStream(json))
            {
                return typeof(T) == typeof(object) ? null : (T)Serializer(typeof(T)).ReadObject(stream);
            }
        }

        private static ErrorBody ReadError(byte[] json)
        {
            try
            {
                return Read<ErrorBody>(json);
            }
            catch (SerializationException)
            {
                // Of a proxy on the way.
                return new ErrorBody { Code = "Unknown", Message = Encoding.UTF8.GetString(json) };
            }
        }
    }
}
